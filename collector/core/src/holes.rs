//! Data that was sent and never seen here: the other end acknowledges more than came. Only where the feed
//! carries data, and only for a connection's first seconds, seen from its SYN: there even a capture
//! that was written by selecting is whole.
//!
//! A mirror of both directions may show the ACK before its data: then the data still comes.

use xdpwatch_prog::record::{Record, flags};

use crate::entry::Entry;
use crate::flow::{SECOND_US, State, marks};
use crate::relation::Seen;
use crate::seq::ahead;
use crate::step::What;

/// How long after its first packet a connection is looked at.
const YOUNG_US: u64 = 5 * SECOND_US;

/// Numbers further ahead are of another incarnation.
const PLAUSIBLE: i32 = 1 << 30;

/// What the segment shows of data not seen; `entry` is the connection before it.
#[inline]
#[must_use]
pub fn hole(entry: &Entry, seen: &Seen<'_>) -> Option<What> {
    let record: &Record = seen.record;
    let plain = record.flags & (flags::SYN | flags::FIN | flags::RST) == 0;
    if !plain || entry.state() > State::Established {
        return None;
    }
    let whole = entry.is(marks::SYN_ACK_SEEN) && entry.marks().client().is_some();
    let young = seen.now_us.saturating_sub(entry.first_us(seen.now_us)) <= YOUNG_US;
    let peer = seen.sender.peer();
    if !whole || !young || !entry.marks().seen(seen.sender) || !entry.marks().seen(peer) {
        return None;
    }
    let beyond = ahead(record.ack, entry.next(peer));
    if record.has_flags(flags::ACK) && (1..PLAUSIBLE).contains(&beyond) {
        return Some(What::AckedUnseen);
    }
    let late = record.payload_len > 0 && ahead(entry.next(seen.sender), record.seq) > 0;
    late.then_some(What::OldData)
}
