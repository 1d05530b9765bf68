//! A contest: a SYN for a new connection on a tuple whose earlier connection the SYN's destination
//! still holds. From that SYN to its outcome, with every number that decides.
//!
//! Facts only: what is worth an alert is decided in `detect`.

use xdpwatch_prog::record::{Record, flags, marks as record_marks};

use crate::flow::{Flow, SECOND_US, State};
use crate::holding::{Sender, held, sender};
use crate::host::linux::RECYCLED_ISN_AHEAD;
use crate::host::schedule::Gaps;
use crate::host::{Attempt, Held, Holder, Model, Verdict, sequence_accepts};
use crate::repetition::{self, patience_us};
use crate::seq::ahead;
use crate::timed::Due;
use crate::tuple::{Side, Tuple};

/// The same segment within this time is the mirror's second copy of it, whatever its TTL or VLAN.
const COPY_US: u64 = 1000;

/// An ACK this long after the last SYN no longer answers it.
const ANSWER_US: u64 = 3 * SECOND_US;

/// Data that one end may have sent unseen before its peer's first segment shows it.
const UNSEEN_BYTES: i32 = 1 << 20;

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
    /// A SYN meets a flow that its destination holds as `holder`.
    #[must_use]
    pub fn open(
        tuple: Tuple,
        flow: &Flow,
        holder: Holder,
        model: Option<Model>,
        syn: &Record,
        now_us: u64,
    ) -> Self {
        let initiator = Tuple::side_of_source(syn, &tuple);
        let held = held(flow, holder, initiator, now_us);
        let attempt = Attempt { isn: syn.seq, ts_val: syn.timestamp() };
        let timed = matches!(holder, Holder::TimeWait | Holder::FinWait2);
        let mut contest = Self::new(tuple, initiator, syn, held, attempt, now_us);
        contest.set_model(model);
        let deadline_us = flow.armed_us() + contest.model.time_wait_us();
        contest.verdict = contest.judge();
        contest.previous = Some(*flow);
        contest.sender = sender(flow, initiator, syn, now_us);
        contest.deadline_us = deadline_us;
        contest.expired = timed && now_us >= deadline_us;
        contest.visible = flow.seen(initiator.peer());
        if !contest.visible {
            contest.answer = Answer::NotVisible;
        }
        contest
    }

    /// An ACK to the only SYN seen shows a holder whose connection predates the feed. `flow` is what
    /// that SYN opened.
    #[must_use]
    pub fn open_unknown(
        tuple: Tuple,
        flow: &Flow,
        initiator: Side,
        model: Option<Model>,
        answer: &Record,
    ) -> Self {
        let syn = &rebuild_syn(flow, initiator, answer);
        let (first_us, last_syn_us) = (flow.first_us, flow.last_us);
        let held = Held {
            state: Holder::Unknown,
            expected: 0,
            ts_recent: None,
            ts_stale: false,
            ts_age_us: 0,
            window: None,
            limited: false,
        };
        let attempt = Attempt { isn: syn.seq, ts_val: syn.timestamp() };
        let mut contest = Self::new(tuple, initiator, syn, held, attempt, first_us);
        contest.set_model(model);
        contest.last_syn_us = last_syn_us;
        contest.last_us = last_syn_us;
        contest.syn_count = if last_syn_us > first_us { 2 } else { 1 };
        contest.gap_us = last_syn_us.saturating_sub(first_us);
        if last_syn_us > first_us {
            contest.gaps.note(contest.gap_us);
        }
        contest.due_us = contest.due_us.max(last_syn_us + patience_us(contest.gap_us));
        contest
    }

    fn new(
        tuple: Tuple,
        initiator: Side,
        syn: &Record,
        held: Held,
        attempt: Attempt,
        now_us: u64,
    ) -> Self {
        Self {
            tuple,
            initiator,
            syn: *syn,
            held,
            attempt,
            model: Model::Linux,
            model_configured: false,
            model_proven: false,
            verdict: Verdict::Unknown,
            from_answer: false,
            previous: None,
            sender: Sender::Untold,
            first_us: now_us,
            last_syn_us: now_us,
            gap_us: 0,
            gaps: Gaps::default(),
            last_us: now_us,
            due_us: now_us + LONE_SYN_US,
            deadline_us: 0,
            expired: false,
            visible: true,
            syn_count: 1,
            challenge_acks: 0,
            resets: 0,
            resets_by_initiator: 0,
            first_answered: false,
            answer: Answer::None,
            syn_ack_ahead: None,
            fired: false,
            answered: false,
            initiator_spoke: false,
            last_answer_us: 0,
            last_reset_us: 0,
            last_ts_val: syn.timestamp(),
        }
    }

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
        let held = Held { limited: false, ..self.held };
        if !self.expired && self.model.verdict(&held, &attempt) == Verdict::RefusePaws {
            flow.rearm(now_us);
            self.deadline_us = now_us + self.model.time_wait_us();
        }
    }

    /// Whether the record answers this SYN with a SYN/ACK.
    #[must_use]
    pub fn is_accepted_by(&self, record: &Record) -> bool {
        record.has_flags(flags::SYN | flags::ACK) && record.ack == self.attempt.isn.wrapping_add(1)
    }

    /// The SYN/ACK: how far its ISN is ahead of the holder's old SND.NXT tells whether it recycled.
    pub fn accepted(&mut self, record: &Record, now_us: u64) -> Event {
        let old_next = self.previous.map(|flow| flow.end(self.initiator.peer()).next);
        self.syn_ack_ahead = old_next.map(|next| ahead(record.seq, next));
        self.note_answer(Answer::SynAck, now_us);
        Event::Connected
    }

    /// The connection came about though its SYN/ACK was not seen.
    pub fn connected_unseen(&mut self, now_us: u64) -> Event {
        self.last_us = now_us;
        Event::Connected
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

    /// Takes a segment of the holder that is no SYN/ACK for this SYN. `None`: not about this SYN.
    pub fn hear_holder(&mut self, record: &Record, now_us: u64) -> Option<Event> {
        if record.has_flags(flags::RST) {
            let about_this = record.ack == self.attempt.isn.wrapping_add(1);
            if !record.has_flags(flags::ACK) || !about_this || self.is_copy(now_us) {
                return None;
            }
            self.resets += 1;
            self.note_answer(Answer::Reset, now_us);
            return Some(Event::Refused);
        }
        if !record.has_flags(flags::ACK) || record.flags & flags::SYN != 0 {
            return None;
        }
        if self.is_challenge(record, now_us) {
            if self.is_copy(now_us) {
                return None;
            }
            self.learn_from(record);
            self.challenge_acks += 1;
            self.note_answer(Answer::ChallengeAck, now_us);
            return Some(Event::Refused);
        }
        let of_new = ahead(record.ack, self.attempt.isn.wrapping_add(1));
        let goes_on = self.initiator_spoke && (0..UNSEEN_BYTES).contains(&of_new);
        goes_on.then(|| self.connected_unseen(now_us))
    }

    /// A bare ACK, the first since the last SYN, that does not acknowledge this SYN.
    fn is_challenge(&self, record: &Record, now_us: u64) -> bool {
        let bare = record.payload_len == 0 && record.flags & (flags::FIN | flags::SYN) == 0;
        let tracked = self.held.state != Holder::Unknown && record.ack == self.held.expected;
        let of_new = ahead(record.ack, self.attempt.isn);
        let unrelated = !(0..=UNSEEN_BYTES).contains(&of_new);
        let timely = now_us.saturating_sub(self.last_syn_us) <= ANSWER_US;
        bare && timely && !self.answered && !self.initiator_spoke && (tracked || unrelated)
    }

    fn is_copy(&self, now_us: u64) -> bool {
        self.answer != Answer::None && now_us.saturating_sub(self.last_answer_us) < COPY_US
    }

    /// A challenge ACK carries the holder's own numbers: RCV.NXT and, as TSecr, TS.Recent. Where the
    /// tracked ones were unknown or wrong, these stand and the verdict is taken anew.
    fn learn_from(&mut self, answer: &Record) {
        let ts_recent = answer.timestamp().map(|_| answer.ts_ecr);
        let same_timestamp = ts_recent.is_none() || ts_recent == self.held.ts_recent;
        let known = self.held.state != Holder::Unknown && !self.held.ts_stale;
        if known && answer.ack == self.held.expected && same_timestamp {
            return;
        }
        self.from_answer = true;
        self.held.expected = answer.ack;
        self.held.ts_recent = ts_recent;
        self.held.ts_stale = false;
        self.verdict = self.judge();
    }

    fn note_answer(&mut self, answer: Answer, now_us: u64) {
        self.first_answered |= self.syn_count == 1;
        if matches!(self.answer, Answer::None | Answer::NotVisible) {
            self.answer = answer;
        }
        self.visible = true;
        self.answered = true;
        self.last_answer_us = now_us;
        self.last_us = now_us;
    }

    /// Takes a segment of the initiator that is no SYN. Returns the event, and whether the segment
    /// is of the new connection (otherwise it is the old one's).
    pub fn hear_initiator(&mut self, record: &Record, now_us: u64) -> (Option<Event>, bool) {
        if record.has_flags(flags::RST) {
            if now_us.saturating_sub(self.last_reset_us) >= COPY_US {
                self.resets_by_initiator += 1;
            }
            self.last_reset_us = now_us;
            self.last_us = now_us;
            return (None, false);
        }
        let past_syn = ahead(record.seq, self.attempt.isn);
        let is_new = (1..UNSEEN_BYTES).contains(&past_syn) && record.seq != self.held.expected;
        if !is_new {
            return (None, false);
        }
        self.initiator_spoke = true;
        self.last_us = now_us;
        // Its ACK completes the handshake; the SYN/ACK is in a direction or a moment not captured.
        (Some(Event::Connected), true)
    }
}

/// The SYN that opened a flow, as far as the flow still knows it; network and VLANs are the answer's.
fn rebuild_syn(flow: &Flow, initiator: Side, answer: &Record) -> Record {
    let ts_val = flow.timestamp(initiator);
    // A SYN has more options than its answer.
    let cut = answer.marks & record_marks::OPTIONS_CUT;
    Record {
        at_ns: flow.first_us * 1000,
        src_addr: answer.dst_addr,
        dst_addr: answer.src_addr,
        src_port: answer.dst_port,
        dst_port: answer.src_port,
        seq: flow.isn,
        flags: flags::SYN,
        ts_val: ts_val.unwrap_or(0),
        marks: if ts_val.is_some() { record_marks::TIMESTAMPS } else { cut },
        vni: answer.vni,
        vlans: answer.vlans,
        vlan_count: answer.vlan_count,
        ..Record::default()
    }
}

impl Tuple {
    fn side_of_source(record: &Record, tuple: &Self) -> Side {
        let a = &tuple.a;
        Side::from_bit(a.addr != record.src_addr || a.port != record.src_port)
    }
}
