//! What the destination of a SYN holds of the earlier connection, and who sends the new SYN, both
//! read from the flow as it was tracked.

use xdpwatch_prog::record::Record;

use crate::flow::{Flow, SCALE_UNKNOWN, SECOND_US, State, marks};
use crate::host::linux::ACK_LIMIT_US;
use crate::host::{Held, Holder};
use crate::seq::ahead;
use crate::tuple::Side;

/// A FIN without an acknowledgment comes again within this: the longest first time-out in use.
const FIRST_REPEAT_US: u64 = 4 * SECOND_US;

/// Who sends the new SYN, compared with the earlier connection's client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The clock goes on: the same host (word: the evidence).
    Same(&'static str),
    /// The clock does not go on: another host, or another inner tuple behind the address.
    Different(&'static str),
    /// Nothing tells.
    Untold,
}

/// The state in which the destination of a SYN from `initiator` holds this flow, if it does.
#[must_use]
pub fn holder(flow: &Flow, initiator: Side, now_us: u64) -> Option<Holder> {
    let closer_is_asked = flow.marks.closer() != initiator;
    match (flow.state, closer_is_asked) {
        (State::FinWait1, true) | (State::LastAck, false) if is_overdue(flow, now_us) => None,
        (State::SynSent | State::Reset, _) => None,
        (State::SynReceived, _) => Some(Holder::SynReceived),
        (State::Established, _) => Some(Holder::Established),
        (State::FinWait1, true) => Some(Holder::FinWait1),
        (State::FinWait2, true) => Some(Holder::FinWait2),
        (State::FinWait1 | State::FinWait2, false) => Some(Holder::CloseWait),
        // The closer has the other's FIN; its ACK was not seen, which changes nothing for it.
        (State::LastAck, true) | (State::Closing, _) | (State::TimeWait, true) => {
            Some(Holder::TimeWait)
        }
        (State::LastAck, false) => Some(Holder::LastAck),
        (State::TimeWait, false) => flow.is(marks::BOTH_CLOSED).then_some(Holder::TimeWait),
    }
}

/// Whether a FIN that nobody was seen to acknowledge would have come again by now. Its repeats wait
/// twice as long each time (RFC 6298, 5.5): a longer silence says that the ACK was there, only unseen,
/// or that the host has given up.
fn is_overdue(flow: &Flow, now_us: u64) -> bool {
    let tried_us = flow.last_us.saturating_sub(flow.changed_us);
    now_us.saturating_sub(flow.last_us) > FIRST_REPEAT_US + 2 * tried_us
}

/// What the holder knows, from what was tracked of both ends.
#[must_use]
pub fn held(flow: &Flow, holder: Holder, initiator: Side, now_us: u64) -> Held {
    let asked = flow.end(initiator.peer());
    let scale = u32::from(asked.scale);
    let answered = flow.is(marks::LIMITED);
    let closing = matches!(holder, Holder::TimeWait | Holder::FinWait2);
    let ts_recent = flow.timestamp(initiator);
    Held {
        state: holder,
        expected: flow.end(initiator).next,
        ts_recent,
        ts_stale: closing && ts_recent.is_some() && !flow.is(marks::TIMESTAMP_FRESH),
        ts_age_us: now_us.saturating_sub(flow.last_us),
        window: (asked.scale != SCALE_UNKNOWN).then(|| u32::from(asked.window) << scale),
        limited: answered && now_us.saturating_sub(flow.last_us) < ACK_LIMIT_US,
    }
}

/// Compares the SYN's clocks with those of the earlier connection's end at the same address.
///
/// A host's TSval on one tuple goes on from where it was, at no more than 1 kHz on common systems
/// (RFC 7323, 5.4), offsets being fixed per tuple. Linux ISNs lie on a 64 ns line per tuple
/// (`secure_seq.c`), which is evidence only when it is met.
#[must_use]
pub fn sender(flow: &Flow, initiator: Side, syn: &Record, now_us: u64) -> Sender {
    let waited_us = now_us.saturating_sub(flow.last_us);
    if let Some((new, old)) = syn.timestamp().zip(flow.timestamp(initiator)) {
        let most = waited_us / 1000 + waited_us / 10_000 + 20;
        let moved = i64::from(ahead(new, old));
        let goes_on = (0..=i64::try_from(most).unwrap_or(i64::MAX)).contains(&moved);
        return if goes_on { Sender::Same("tsval") } else { Sender::Different("tsval") };
    }
    if flow.marks.client() == Some(initiator) {
        let line_bytes = now_us.saturating_sub(flow.first_us) * 125 / 8;
        let off = ahead(syn.seq, flow.isn.wrapping_add(line_bytes as u32));
        if off.unsigned_abs() < 1 << 18 {
            return Sender::Same("isn");
        }
    }
    Sender::Untold
}
