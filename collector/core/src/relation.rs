//! What a segment is to the flow that its tuple already has: a repetition, a latecomer, the beginning
//! of something new, or an answer for somebody unknown.

use xdpwatch_prog::record::{Record, flags};

use crate::entry::Entry;
use crate::flow::{SECOND_US, State};
use crate::flows::Lookup;
use crate::seq::ahead;
use crate::tuple::{Key, Side, Tuple};

/// A SYN this soon after what it belongs to was only reordered or copied.
const LATE_SYN_US: u64 = SECOND_US;

/// Bytes a client may have sent before its late SYN arrives.
const LATE_SYN_BYTES: i32 = 1 << 16;

/// An ACK out of the blue answers a SYN at most this much later.
const ANSWER_US: u64 = 3 * SECOND_US;

/// An acknowledgment this far past the SYN may be of data that was not seen.
const UNSEEN_BYTES: i32 = 1 << 20;

/// One record on its way through: what it is about and where it stands.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// The record.
    pub record: &'a Record,
    /// Its tuple.
    pub key: Key,
    /// The end that sent it.
    pub sender: Side,
    /// Where to look for the tuple.
    pub lookup: Lookup,
    /// When, microseconds.
    pub now_us: u64,
}

impl Seen<'_> {
    /// Its tuple with its addresses.
    #[must_use]
    pub fn tuple(&self) -> Tuple {
        self.key.tuple()
    }
}

/// What a SYN is to the flow on its tuple.
pub enum Relation {
    /// The same SYN again before any answer.
    Repeated,
    /// The flow's own SYN, reordered or copied.
    Late,
    /// An attempt at a new connection.
    New,
}

/// What this SYN is to the flow that its tuple has.
#[must_use]
pub fn relation(entry: &Entry, seen: &Seen<'_>) -> Relation {
    let since_us = |then: u64| seen.now_us.saturating_sub(then);
    match entry.marks().client() {
        Some(client) if client == seen.sender && entry.isn() == seen.record.seq => {
            match entry.state() {
                State::SynSent | State::SynReceived => Relation::Repeated,
                // A new connection may by chance, or by a poor generator, have the old one's ISN.
                state
                    if state >= State::FinWait1
                        && since_us(entry.last_us(seen.now_us)) > LATE_SYN_US =>
                {
                    Relation::New
                }
                _ => Relation::Late,
            }
        }
        None if since_us(entry.first_us(seen.now_us)) < LATE_SYN_US => {
            let sent = ahead(entry.next(seen.sender), seen.record.seq);
            let is_its_syn = entry.marks().seen(seen.sender) && (1..LATE_SYN_BYTES).contains(&sent);
            if is_its_syn { Relation::Late } else { Relation::New }
        }
        _ => Relation::New,
    }
}

/// A SYN/ACK whose SYN was not seen, on a tuple that has an older flow.
#[inline]
#[must_use]
pub fn begins_unseen(entry: &Entry, seen: &Seen<'_>) -> bool {
    if !seen.record.has_flags(flags::SYN | flags::ACK) {
        return false;
    }
    let isn = seen.record.ack.wrapping_sub(1);
    let own = entry.marks().client() == Some(seen.sender.peer()) && entry.isn() == isn;
    let mid_stream = entry.marks().client().is_none() && entry.state() < State::FinWait1;
    !own && !mid_stream
}

/// A bare ACK that acknowledges something else than the only SYN seen.
#[inline]
#[must_use]
pub fn answers_for_unknown(entry: &Entry, seen: &Seen<'_>) -> bool {
    let record = seen.record;
    let shape = flags::SYN | flags::FIN | flags::RST | flags::ACK;
    if record.flags & shape != flags::ACK || entry.state() != State::SynSent {
        return false;
    }
    let from_server = entry.marks().client() == Some(seen.sender.peer());
    let timely = seen.now_us.saturating_sub(entry.last_us(seen.now_us)) <= ANSWER_US;
    let past_syn = ahead(record.ack, entry.isn());
    record.payload_len == 0 && from_server && timely && !(0..=UNSEEN_BYTES).contains(&past_syn)
}
