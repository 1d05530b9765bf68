//! A contest: a SYN for a new connection on a tuple whose earlier connection the SYN's destination
//! still holds. From that SYN to its outcome, with every number that decides.
//!
//! Facts only: what is worth an alert is decided in `detect`. How it begins is in `open`, what the ends
//! say in `hear`.

mod hear;
mod open;

use xdpwatch_prog::record::{Record, marks as record_marks};

use crate::flow::{Flow, SECOND_US, State};
use crate::holding::Sender;
use crate::host::linux::RECYCLED_ISN_AHEAD;
use crate::host::schedule::Gaps;
use crate::host::{Attempt, Held, Holder, Model, Verdict, sequence_accepts};
use crate::repetition::{self, patience_us};
use crate::seq::ahead;
use crate::timed::Due;
use crate::tuple::{Side, Tuple};

/// The same segment within this time is the mirror's second copy of it, whatever its TTL or VLAN.
const COPY_US: u64 = 1000;

/// Patience after a lone SYN: the longest first retransmission time-out in use is 3 s.
const LONE_SYN_US: u64 = 4 * SECOND_US;

/// What the holder was seen to answer first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// SYN/ACK: the new connection.
    SynAck,
    /// A bare ACK with the old connection's numbers.
    ChallengeAck,
    /// RST.
    Reset,
    /// Nothing.
    None,
    /// The feed never showed this holder's direction.
    NotVisible,
}

impl Answer {
    /// The contract's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::SynAck => "syn_ack",
            Self::ChallengeAck => "challenge_ack",
            Self::Reset => "rst",
            Self::None => "none",
            Self::NotVisible => "not_visible",
        }
    }
}

/// What happened to a contest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The SYN came again; `unanswered` if the one before it got no answer.
    SynRepeated {
        /// Whether the SYN before was left without an answer.
        unanswered: bool,
    },
    /// The holder refused: a challenge ACK or a RST.
    Refused,
    /// The new connection came about.
    Connected,
    /// Nobody waits any more, or the initiator began anew.
    Failed,
}

/// A SYN against a holder.
#[derive(Clone, Debug)]
pub struct Contest {
    /// The tuple fought for.
    pub tuple: Tuple,
    /// The end that sent the SYN.
    pub initiator: Side,
    /// The first SYN as it was seen.
    pub syn: Record,
    /// What the holder knows of the earlier connection.
    pub held: Held,
    /// The numbers of the new SYN.
    pub attempt: Attempt,
    /// Whose TCP the holder's is, by configuration or evidence; Linux if they say nothing.
    pub model: Model,
    /// Whether the configuration says so.
    pub model_configured: bool,
    /// Whether what the host did elsewhere says so.
    pub model_proven: bool,
    /// What the holder's TCP does with it.
    pub verdict: Verdict,
    /// Whether the numbers are the answer's, the tracked ones being unknown or wrong.
    pub from_answer: bool,
    /// The earlier connection as it was at the first SYN; `None` if it predates the feed.
    pub previous: Option<Flow>,
    /// Who sends it.
    pub sender: Sender,
    /// First SYN, microseconds.
    pub first_us: u64,
    /// Last SYN, microseconds.
    pub last_syn_us: u64,
    /// Between the last two SYNs, microseconds; 0 after a lone one.
    pub gap_us: u64,
    /// Between all of them.
    pub gaps: Gaps,
    /// Last packet of it, microseconds.
    pub last_us: u64,
    /// When it counts as failed unless something happens before; never moves back. Twice the last gap
    /// after the last SYN and a quarter more: back-off brings the next SYN at exactly twice the gap.
    pub due_us: u64,
    /// When the holder's timer runs out, by the model, re-armings included; microseconds.
    pub deadline_us: u64,
    /// Whether the model's deadline had passed at the first SYN.
    pub expired: bool,
    /// Whether the holder's direction was ever seen.
    pub visible: bool,
    /// SYNs seen.
    pub syn_count: u32,
    /// Challenge ACKs seen.
    pub challenge_acks: u32,
    /// RSTs by the holder.
    pub resets: u32,
    /// RSTs by the initiator.
    pub resets_by_initiator: u32,
    /// Whether the first SYN was answered before it was repeated.
    pub first_answered: bool,
    /// The first answer.
    pub answer: Answer,
    /// The SYN/ACK's ISN, ahead of the holder's SND.NXT; `None` if not seen or not comparable.
    pub syn_ack_ahead: Option<i32>,
    /// Whether an alert stands.
    pub fired: bool,
    /// Answers to the SYNs since the last one: at most one each counts.
    answered: bool,
    /// Whether the initiator went on as in an open connection.
    initiator_spoke: bool,
    last_answer_us: u64,
    last_reset_us: u64,
    last_ts_val: Option<u32>,
}

impl Due for Contest {
    fn due_us(&self) -> u64 {
        self.due_us
    }
}

impl Contest {
    fn set_model(&mut self, configured: Option<Model>) {
        self.model = configured.unwrap_or(Model::Linux);
        self.model_configured = configured.is_some();
    }

    /// What the host did elsewhere proves this model: verdict and deadline are taken anew. Configuration
    /// stands above evidence.
    pub fn assume(&mut self, model: Model) {
        if self.model_configured {
            return;
        }
        self.model_proven = true;
        if model == self.model {
            return;
        }
        let armed_us = self.armed_us();
        self.model = model;
        if self.isn_delta().is_some() {
            self.verdict = self.judge();
        }
        if self.previous.is_some() {
            let timed = matches!(self.held.state, Holder::TimeWait | Holder::FinWait2);
            self.deadline_us = armed_us + model.time_wait_us();
            self.expired = timed && self.first_us >= self.deadline_us;
        }
    }

    /// What the holder's TCP does with the SYN, as far as the SYN was captured.
    fn judge(&self) -> Verdict {
        match self.held.state {
            Holder::TimeWait | Holder::FinWait2 | Holder::Unknown if self.timestamp_cut() => {
                Verdict::Unknown
            }
            _ => self.model.verdict(&self.held, &self.attempt),
        }
    }

    /// Whether the capture cut the SYN's options off: a timestamp that nobody saw may decide.
    #[must_use]
    pub fn timestamp_cut(&self) -> bool {
        self.attempt.ts_val.is_none() && self.syn.has_mark(record_marks::OPTIONS_CUT)
    }

    /// New ISN minus what the holder expects next; unknown where nothing told the latter.
    #[must_use]
    pub fn isn_delta(&self) -> Option<i32> {
        let known = self.held.state != Holder::Unknown || self.from_answer;
        known.then(|| ahead(self.attempt.isn, self.held.expected))
    }

    /// New TSval minus the holder's TS.Recent.
    #[must_use]
    pub fn ts_delta(&self) -> Option<i32> {
        let (new, recent) = self.attempt.ts_val.zip(self.held.ts_recent)?;
        Some(ahead(new, recent))
    }

    /// Whether the sequence rule alone would have accepted.
    #[must_use]
    pub fn sequence_alone_accepts(&self) -> bool {
        sequence_accepts(&self.held, &self.attempt)
    }

    /// When the holder's timer was last set, by the model.
    #[must_use]
    pub fn armed_us(&self) -> u64 {
        self.deadline_us.saturating_sub(self.model.time_wait_us())
    }

    /// Whether this SYN belongs to the contest: the same ISN.
    #[must_use]
    pub fn is_same_syn(&self, record: &Record) -> bool {
        record.seq == self.attempt.isn
    }

    /// The SYN came again. A mirror's copy of the last one is nothing.
    pub fn syn_again(&mut self, record: &Record, flow: &mut Flow, now_us: u64) -> Option<Event> {
        let waited = now_us.saturating_sub(self.last_syn_us);
        let same_clock = record.timestamp().is_some() && record.timestamp() == self.last_ts_val;
        if waited < COPY_US || (same_clock && waited < repetition::COPY_US) {
            return None;
        }
        let unanswered = !self.answered;
        self.gap_us = waited;
        self.gaps.note(waited);
        self.last_syn_us = now_us;
        self.last_us = now_us;
        self.due_us = self.due_us.max(now_us + patience_us(self.gap_us));
        self.last_ts_val = record.timestamp();
        self.syn_count += 1;
        self.answered = false;
        self.rearm(record, flow, now_us);
        Some(Event::SynRepeated { unanswered })
    }

    /// A SYN that PAWS rejects sets TIME-WAIT's timer anew, answered or not; one that only the
    /// sequence rule rejects does not (`tcp_timewait_state_process`).
    pub fn rearm(&mut self, record: &Record, flow: &mut Flow, now_us: u64) {
        let timed = self.held.state == Holder::TimeWait && self.model.is_linux();
        if flow.state == State::Reset || !timed {
            return;
        }
        let attempt = Attempt { isn: record.seq, ts_val: record.timestamp() };
        if !self.expired && self.unlimited(&attempt) == Verdict::RefusePaws {
            flow.rearm(now_us);
            self.deadline_us = now_us + self.model.time_wait_us();
        }
    }

    /// What the holder's TCP would do with the SYN if no limiter kept it silent.
    #[must_use]
    pub fn unlimited_verdict(&self) -> Verdict {
        self.unlimited(&self.attempt)
    }

    fn unlimited(&self, attempt: &Attempt) -> Verdict {
        self.model.verdict(&Held { limited: false, ..self.held }, attempt)
    }

    /// Whether the SYN/ACK's ISN proves that the holder still held TIME-WAIT.
    #[must_use]
    pub fn recycled(&self) -> bool {
        self.syn_ack_ahead == Some(RECYCLED_ISN_AHEAD.cast_signed())
    }

    /// How far ahead of its old SND.NXT a holder in TIME-WAIT began the new connection.
    #[must_use]
    pub fn recycled_to(&self) -> Option<i32> {
        let timed = self.held.state == Holder::TimeWait && !self.expired;
        self.syn_ack_ahead.filter(|_| timed)
    }
}
