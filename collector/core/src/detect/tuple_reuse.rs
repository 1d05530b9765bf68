//! `tuple_reuse`: a SYN on a tuple whose earlier connection its destination still holds.
//!
//! Fires at the first harm seen (a refusal, or an unanswered SYN repeated), never at a prediction;
//! resolved once the outcome is known. Accepted reuse is a finding only when asked for.

use crate::contest::{Answer, Contest, Event};
use crate::finding::{Confidence, Endpoint, Fact, Facts, Finding, Rule, State};
use crate::flow::{IDLE_UNKNOWN, marks};
use crate::grounds::{Grounds, Held};
use crate::holding::Sender;
use crate::host::{Holder, Model, Refusal, Verdict};
use crate::subject::{FLOW, Subject};
use crate::tuple::Side;

/// The rule.
pub const RULE: Rule = Rule {
    name: "tuple_reuse",
    id: 1,
    summary: "a SYN on a tuple whose previous connection the destination still holds",
};

/// A stall from this on is severity 2 even if the connection came about.
const LONG_STALL_US: u64 = 1_000_000;

/// How a contest stands or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Pending,
    Connected,
    Recovered,
    Failed,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Connected => "connected",
            Self::Recovered => "recovered",
            Self::Failed => "failed",
        }
    }
}

/// What is to be reported of a contest. The finding is made behind all workers, where more may be known
/// of the holder than its own worker saw.
#[derive(Clone, Debug)]
pub struct Report {
    contest: Contest,
    state: State,
    outcome: Outcome,
    at_us: u64,
}

impl Report {
    /// The end that holds the tuple.
    #[must_use]
    pub fn holder(&self) -> Endpoint {
        self.contest.tuple.end(self.contest.initiator.peer())
    }

    /// The finding; `proven`: the holder's model as its host's deeds elsewhere prove it.
    #[must_use]
    pub fn finding(&self, proven: Option<Model>) -> Finding {
        let mut contest = self.contest.clone();
        if let Some(model) = proven {
            contest.assume(model);
        }
        finding(&contest, self.state, self.outcome, self.at_us)
    }
}

/// What to report of this event, if anything. Marks the contest once an alert stands.
pub fn observe(contest: &mut Contest, event: Event, now_us: u64, all: bool) -> Option<Report> {
    let outcome = match event {
        Event::Refused => Outcome::Pending,
        Event::SynRepeated { unanswered } => {
            // Past the model's deadline, or with one direction unseen, silence proves nothing.
            let harm = unanswered && contest.visible && !contest.expired && !may_be_lost(contest);
            return if harm { fire(contest, Outcome::Pending, now_us) } else { None };
        }
        Event::Connected if contest.fired => Outcome::Recovered,
        Event::Connected => Outcome::Connected,
        Event::Failed => Outcome::Failed,
    };
    match outcome {
        Outcome::Pending => fire(contest, outcome, now_us),
        Outcome::Connected => (all && !contest.expired && contest.visible)
            .then(|| report(contest, State::Firing, outcome, now_us)),
        _ => contest.fired.then(|| report(contest, State::Resolved, outcome, now_us)),
    }
}

/// No timer bounds an open connection's end: most that seem to hold one for long have let go unseen,
/// and those that do hold it answer. One SYN without an answer was then rather lost on its way.
fn may_be_lost(contest: &Contest) -> bool {
    let lone = contest.answer == Answer::None && contest.syn_count < 3;
    lone && contest.verdict == Verdict::RefuseInUse
}

fn report(contest: &Contest, state: State, outcome: Outcome, at_us: u64) -> Report {
    Report { contest: contest.clone(), state, outcome, at_us }
}

fn fire(contest: &mut Contest, outcome: Outcome, now_us: u64) -> Option<Report> {
    if contest.fired {
        return None;
    }
    contest.fired = true;
    Some(report(contest, State::Firing, outcome, now_us))
}

fn finding(contest: &Contest, state: State, outcome: Outcome, now_us: u64) -> Finding {
    let cause = cause(contest, outcome);
    Finding {
        cause,
        severity: severity(contest, outcome),
        confidence: confidence(contest, outcome),
        facts: facts(contest, outcome, cause),
        grounds: Some(Grounds::Held(Held {
            tuple: contest.tuple,
            syn: contest.syn,
            previous: contest.previous,
        })),
        ..Subject::attempt(contest).finding(&RULE, state, now_us)
    }
}

fn severity(contest: &Contest, outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Failed => 1,
        Outcome::Pending => 2,
        Outcome::Recovered if stall_us(contest) >= LONG_STALL_US => 2,
        Outcome::Recovered | Outcome::Connected => 3,
    }
}

/// From the first SYN to the connection, or to the last packet seen.
fn stall_us(contest: &Contest) -> u64 {
    contest.last_us.saturating_sub(contest.first_us)
}

/// Why the SYN was not taken. An answer is explained by the numbers, never by itself.
fn cause(contest: &Contest, outcome: Outcome) -> &'static str {
    match contest.answer {
        Answer::Reset if contest.held.state == Holder::FinWait2 => "fin_wait2",
        Answer::Reset => "refused",
        Answer::SynAck if outcome == Outcome::Connected => "none",
        // Nothing was refused, only left unanswered; a fresh ISN shows that the server held nothing.
        Answer::SynAck if !contest.recycled() && !contest.first_answered => "first_syn_dropped",
        // The limiter was not armed after all: what was refused are the numbers.
        _ if contest.verdict == Verdict::Silent && contest.first_answered => {
            cause_of_verdict(contest, contest.unlimited_verdict())
        }
        _ => cause_of_verdict(contest, contest.verdict),
    }
}

fn cause_of_verdict(contest: &Contest, verdict: Verdict) -> &'static str {
    let challenged = contest.answer == Answer::ChallengeAck;
    match verdict {
        _ if contest.held.state == Holder::FinWait2 => "fin_wait2",
        Verdict::RefusePaws => "paws",
        Verdict::RefuseSequence => "sequence",
        Verdict::ResetInWindow => "fin_wait2",
        Verdict::RefuseInUse => "in_use",
        // With recycle the host's timestamp refuses; else only the limiter keeps Linux silent.
        Verdict::Silent if contest.model == Model::LinuxRecycle => "paws",
        Verdict::Silent => "rate_limited",
        // TIME-WAIT would take it: without a listener even an acceptable SYN gets the old ACK
        // (`tcp_v4_rcv`); a holder that nobody saw close is more probably still in use.
        Verdict::Accept if challenged && contest.held.state == Holder::Unknown => "in_use",
        Verdict::Accept if challenged => "listener_gone",
        Verdict::Accept | Verdict::Unknown => "unknown",
    }
}

/// Whether the first answer is another than the verdict foretold. Silence contradicts nothing: the
/// answer may have been lost before this tap.
#[must_use]
pub fn contradicted(contest: &Contest) -> bool {
    if contest.recycled() && !contest.model.is_linux() {
        return true;
    }
    let foretold = match contest.verdict {
        Verdict::Accept => Some(Answer::SynAck),
        Verdict::RefusePaws | Verdict::RefuseSequence | Verdict::RefuseInUse => {
            match contest.model.refusal(contest.verdict) {
                Refusal::Ack => Some(Answer::ChallengeAck),
                Refusal::Silence => None,
            }
        }
        Verdict::ResetInWindow => Some(Answer::Reset),
        // An answer to a later SYN, when the limiter allows one again, is what was foretold.
        Verdict::Silent if contest.first_answered => None,
        Verdict::Silent | Verdict::Unknown => return false,
    };
    match contest.answer {
        Answer::None | Answer::NotVisible => false,
        answer => foretold != Some(answer) || held_past_deadline(contest),
    }
}

/// What a refusal by the sequence number got, where that tells the holder's system: Linux answers it.
#[must_use]
pub fn refusal_seen(contest: &Contest) -> Option<Refusal> {
    let refused = contest.verdict == Verdict::RefuseSequence && !contest.expired;
    let timed = contest.held.state == Holder::TimeWait && contest.visible;
    match contest.answer {
        _ if !refused || !timed => None,
        Answer::ChallengeAck => Some(Refusal::Ack),
        Answer::None if contest.syn_count > 1 => Some(Refusal::Silence),
        _ => None,
    }
}

/// A refusal or a recycled TIME-WAIT after the model's deadline: the holder holds longer.
#[must_use]
pub fn held_past_deadline(contest: &Contest) -> bool {
    let held = contest.challenge_acks > 0 || contest.recycled();
    contest.expired && held
}

fn confidence(contest: &Contest, outcome: Outcome) -> Confidence {
    let mut confidence = Confidence::SURE;
    let mut lower = |by, reason| confidence.lower(by, reason);
    if contest.held.state == Holder::Unknown {
        lower(40, "previous_connection_not_seen");
    } else if contest.from_answer {
        lower(10, "numbers_from_answer");
    }
    if contest.answer == Answer::NotVisible {
        lower(30, "one_direction_only");
    } else if contest.answer == Answer::None && outcome != Outcome::Connected {
        lower(20, "answer_not_seen");
        if contest.verdict == Verdict::RefuseInUse {
            // No timer bounds this state: the holder may have gone without a word.
            lower(30, "holder_may_be_gone");
        }
    }
    if contest.timestamp_cut() {
        lower(20, "syn_options_cut");
    }
    if contest.previous.is_some_and(|flow| !flow.is(marks::SYN_ACK_SEEN)) {
        lower(5, "mid_stream");
    }
    if contradicted(contest) {
        lower(20, "model_contradicted");
    }
    confidence
}

fn facts(contest: &Contest, outcome: Outcome, cause: &'static str) -> Facts {
    let mut facts = Facts::new();
    let mut set = |label, fact| {
        let _ = facts.try_push((label, fact));
    };
    holder_facts(contest, &mut set);
    set("isn_delta", number(contest.isn_delta().map(i64::from)));
    let delta_from = if contest.from_answer { "answer" } else { "tracked" };
    set("delta_from", contest.isn_delta().map_or(Fact::Unknown, |_| Fact::Word(delta_from)));
    set("ts_delta", number(contest.ts_delta().map(i64::from)));
    set("verdict", Fact::Word(contest.verdict.word()));
    set("host_model", Fact::Word(contest.model.word()));
    let model_from = match contest.model_configured {
        true => "config",
        false if contest.model_proven || contest.recycled() => "evidence",
        false => "default",
    };
    set("host_model_from", Fact::Word(model_from));
    set("model_contradicted", Fact::Flag(contradicted(contest)));
    set("cause", Fact::Word(cause));
    set("sequence_alone", sequence_alone(contest));
    set("answer", Fact::Word(contest.answer.word()));
    let answers = contest.challenge_acks + contest.resets;
    set("answers", Fact::count(answers));
    set("syn_count", Fact::count(contest.syn_count));
    set("retry_schedule", contest.gaps.fact());
    set("resets_by_initiator", Fact::count(contest.resets_by_initiator));
    set("outcome", Fact::Word(outcome.word()));
    set("stall_ms", Fact::ms(stall_us(contest)));
    let (different, evidence) = match contest.sender {
        Sender::Same(evidence) => (Fact::Flag(false), Fact::Word(evidence)),
        Sender::Different(evidence) => (Fact::Flag(true), Fact::Word(evidence)),
        Sender::Untold => (Fact::Unknown, Fact::Unknown),
    };
    set("different_sender", different);
    set("sender_evidence", evidence);
    facts
}

fn sequence_alone(contest: &Contest) -> Fact {
    let timed = matches!(contest.held.state, Holder::TimeWait | Holder::Unknown);
    match contest.isn_delta() {
        Some(_) if timed && contest.sequence_alone_accepts() => Fact::Word("accept"),
        Some(_) if timed => Fact::Word("refuse"),
        _ => Fact::Unknown,
    }
}

fn holder_facts(contest: &Contest, set: &mut impl FnMut(&'static str, Fact)) {
    let holder = contest.tuple.end(contest.initiator.peer());
    set("holder.ip", Fact::Address(holder.addr));
    set("holder.port", Fact::Number(i64::from(holder.port)));
    set("holder.state", Fact::Word(contest.held.state.word()));
    let Some(flow) = contest.previous else {
        for label in ["holder.since_ms", "holder.deadline_ms", "holder.closed_by"] {
            set(label, Fact::Unknown);
        }
        set("holder.previous_flow_id", Fact::Unknown);
        return;
    };
    let since = contest.first_us.saturating_sub(flow.changed_us);
    set("holder.since_ms", Fact::ms(since));
    let timed = matches!(contest.held.state, Holder::TimeWait | Holder::FinWait2);
    if timed {
        let left = i64::try_from(contest.deadline_us).unwrap_or(i64::MAX)
            - i64::try_from(contest.first_us).unwrap_or(0);
        set("holder.deadline_ms", Fact::Number(left.div_euclid(1000)));
        set("holder.deadline", Fact::Time(contest.deadline_us.saturating_mul(1000)));
        let from = if held_past_deadline(contest) { "evidence" } else { "model" };
        set("holder.deadline_from", Fact::Word(from));
    } else {
        set("holder.deadline_ms", Fact::Unknown);
    }
    set("holder.closed_by", closed_by(contest, &flow));
    let idle = flow.idle_ms;
    let idle = if idle == IDLE_UNKNOWN { None } else { Some(i64::from(idle)) };
    set("holder.idle_before_close_ms", number(idle));
    set("holder.previous_flow_id", Fact::Id(contest.tuple.id(flow.first_us, FLOW)));
}

/// Which end of the earlier connection sent the first FIN. Client and server are that
/// connection's; where its SYN was not seen, the end that now sends the SYN counts as client.
fn closed_by(contest: &Contest, flow: &crate::flow::Flow) -> Fact {
    if flow.state < crate::flow::State::FinWait1 {
        return Fact::Unknown;
    }
    if flow.is(marks::BOTH_CLOSED) {
        return Fact::Word("both");
    }
    let client: Side = flow.marks.client().unwrap_or(contest.initiator);
    Fact::Word(if flow.marks.closer() == client { "client" } else { "server" })
}

fn number(value: Option<i64>) -> Fact {
    value.map_or(Fact::Unknown, Fact::Number)
}
