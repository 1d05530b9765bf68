//! How a contest begins: against a flow that is known, or against a holder that only its answer shows.

use xdpwatch_prog::record::{Record, flags, marks as record_marks};

use super::{Answer, Contest, LONE_SYN_US};
use crate::flow::Flow;
use crate::holding::{Sender, held, sender};
use crate::host::schedule::Gaps;
use crate::host::{Attempt, Held, Holder, Model, Verdict};
use crate::repetition::patience_us;
use crate::tuple::{Side, Tuple};

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
        contest.visible = flow.marks.seen(initiator.peer());
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
