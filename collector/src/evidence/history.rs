//! The headers of recent segments as they were seen, in a ring that costs its memory and a few
//! stores per segment: what evidence is taken from when an alert comes.
//!
//! Nothing is indexed on the way in; looking a tuple up reads all tags, 4 bytes per segment.

use xdpwatch_core::finding::Endpoint;
use xdpwatch_core::tuple::Tuple;
use xdpwatch_prog::record::Record;
use xdpwatch_prog::select::{FIN_WINDOW_NS, SYN_WINDOW_NS, is_control, window_ns};
use xdpwatch_prog::wire::Link;

/// Bytes kept of a frame at most: Ethernet, two VLAN tags, IPv6 and the longest TCP header, or
/// IPv4 in VXLAN.
pub const BYTES: usize = 176;

/// Segments of one tuple that are handed out at most, the latest.
const FOUND_MAX: usize = 512;

/// Slots of the filter of tuples in transition: one time each.
const TRANSITIONS: usize = 1 << 16;

/// Its unit of time as a shift of nanoseconds: 134 ms.
const TICK_SHIFT: u32 = 27;

/// One frame's headers; three cache lines.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Slot {
    at_ns: u64,
    frame_len: u32,
    len: u16,
    link: Link,
    bytes: [u8; BYTES],
}

const EMPTY: Slot =
    Slot { at_ns: 0, frame_len: 0, len: 0, link: Link::Ethernet, bytes: [0; BYTES] };

/// A frame's headers out of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// When it was seen, nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// Bytes it had on the wire.
    pub frame_len: u32,
    /// What the first byte belongs to.
    pub link: Link,
    /// Its headers.
    pub bytes: Vec<u8>,
}

/// Which segments are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All that come: they were selected before.
    All,
    /// Those that open and close connections, and all others of tuples in transition.
    Transitions,
}

/// A ring of headers.
#[derive(Debug)]
pub struct History {
    slots: Box<[Slot]>,
    tags: Box<[u32]>,
    /// Segments kept so far: the next one's number.
    next: u64,
    /// The next one's place: its number, modulo the places.
    place: usize,
    /// How far back from the segment asked about is looked.
    depth: u64,
    /// By a part of the tuple's hash, until when it is in transition; empty if all is kept.
    until: Box<[u32]>,
    seed: u64,
}

impl History {
    /// Bytes of memory for each segment.
    pub const BYTES_EACH: usize = size_of::<Slot>() + size_of::<u32>();

    /// Looks back over `depth` segments; `ahead` more are kept, for questions about a time that the
    /// ring has passed by so much already.
    #[must_use]
    pub fn new(depth: usize, ahead: usize, keep: Keep, seed: u64) -> Self {
        let places = (depth + ahead).max(1);
        let transitions = if keep == Keep::Transitions { TRANSITIONS } else { 0 };
        Self {
            slots: vec![EMPTY; places].into_boxed_slice(),
            tags: vec![0; places].into_boxed_slice(),
            next: 0,
            place: 0,
            depth: depth as u64,
            until: vec![0; transitions].into_boxed_slice(),
            seed: seed | 1,
        }
    }

    /// Takes a segment: its record, and the frame up to the end of its TCP header.
    #[inline]
    pub fn put(&mut self, record: &Record, link: Link, headers: &[u8]) {
        let hash = self.hash(
            &Endpoint { addr: record.src_addr, port: record.src_port },
            &Endpoint { addr: record.dst_addr, port: record.dst_port },
        );
        if !self.until.is_empty() && !self.in_transition(record, hash) {
            return;
        }
        let place = self.place;
        self.next += 1;
        self.place = if place + 1 < self.slots.len() { place + 1 } else { 0 };
        self.tags[place] = hash as u32;
        let slot = &mut self.slots[place];
        let headers = &headers[..headers.len().min(BYTES)];
        slot.at_ns = record.at_ns;
        slot.frame_len = record.frame_len;
        slot.len = headers.len() as u16;
        slot.link = link;
        copy(headers, &mut slot.bytes);
    }

    /// The segments of `tuple`, seen not after `end_ns`, oldest first. Chance may add others.
    #[must_use]
    pub fn find(&self, tuple: &Tuple, end_ns: u64) -> Vec<Packet> {
        let tag = self.hash(&tuple.a, &tuple.b) as u32;
        let places = self.slots.len() as u64;
        let slot = |number: u64| &self.slots[(number % places) as usize];
        // Findings have whole microseconds.
        let is_later = |number: &u64| slot(*number).at_ns / 1000 > end_ns / 1000;
        let oldest = self.next.saturating_sub(places);
        let later = (oldest..self.next).rev().take_while(is_later).count() as u64;
        let end = self.next - later;
        let mut found: Vec<u64> = (end.saturating_sub(self.depth).max(oldest)..end)
            .rev()
            .filter(|number| self.tags[(number % places) as usize] == tag)
            .take(FOUND_MAX)
            .collect();
        found.reverse();
        found
            .into_iter()
            .map(|number| {
                let Slot { at_ns, frame_len, len, link, bytes } = slot(number);
                let bytes = bytes[..usize::from(*len)].to_vec();
                Packet { at_ns: *at_ns, frame_len: *frame_len, link: *link, bytes }
            })
            .collect()
    }

    /// Whether the segment is needed; notes until when its tuple is in transition.
    #[inline]
    fn in_transition(&mut self, record: &Record, hash: u64) -> bool {
        let until = &mut self.until[(hash >> 32) as usize % TRANSITIONS];
        if let Some(window) = window_ns(record.flags, SYN_WINDOW_NS, FIN_WINDOW_NS) {
            *until = (*until).max(((record.at_ns + window) >> TICK_SHIFT) as u32 + 1);
        }
        is_control(record.flags) || (record.at_ns >> TICK_SHIFT) as u32 <= *until
    }

    /// The same for both directions, and keyed: strangers choose the tuples.
    #[inline]
    fn hash(&self, one: &Endpoint, other: &Endpoint) -> u64 {
        let of = |end: &Endpoint| {
            let addr = u128::from_be_bytes(end.addr);
            let high = ((addr >> 64) as u64).wrapping_mul(0xa076_1d64_78bd_642f);
            let low = (addr as u64 ^ self.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mixed = high ^ low ^ low >> 32 ^ u64::from(end.port) << 17;
            mixed.wrapping_mul(self.seed)
        };
        let sum = of(one).wrapping_add(of(other));
        (sum ^ sum >> 29).wrapping_mul(0x9fb2_1c65_1e98_df25).rotate_right(24)
    }
}

/// Copies so few bytes in pieces, the last of which may overlap: a call would cost more than the copy.
#[inline]
fn copy(from: &[u8], to: &mut [u8; BYTES]) {
    let (pieces, rest) = from.as_chunks::<16>();
    let (places, _) = to.as_chunks_mut::<16>();
    places.iter_mut().zip(pieces).for_each(|(to, from)| *to = *from);
    if rest.is_empty() {
        return;
    }
    let len = from.len();
    match from.last_chunk::<16>() {
        Some(last) => to[len - 16..len].copy_from_slice(last),
        None => to[..len].copy_from_slice(from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xdpwatch_prog::record::flags;

    fn record(at_ns: u64, port: u16, tcp_flags: u8) -> Record {
        Record { at_ns, src_port: port, dst_port: 80, flags: tcp_flags, ..Record::default() }
    }

    fn found(history: &History, port: u16, end_ns: u64) -> Vec<u64> {
        let tuple = Tuple::of(&record(0, port, 0), false).0;
        history.find(&tuple, end_ns).iter().map(|packet| packet.at_ns).collect()
    }

    #[test]
    fn both_directions_are_found_and_others_not() {
        let mut history = History::new(8, 0, Keep::All, 5);
        let there = record(1000, 7, flags::SYN);
        let back = Record { at_ns: 2000, src_port: 80, dst_port: 7, ..there };
        history.put(&there, Link::Ethernet, &[1; 60]);
        history.put(&back, Link::RawIp, &[2; 300]);
        history.put(&record(3000, 8, flags::SYN), Link::Ethernet, &[3; 60]);
        assert_eq!(found(&history, 7, 9000), [1000, 2000]);
        let packets = history.find(&Tuple::of(&there, false).0, 9000);
        assert_eq!((packets[0].bytes.as_slice(), packets[0].link), (&[1; 60][..], Link::Ethernet));
        assert_eq!((packets[1].bytes.len(), packets[1].link), (BYTES, Link::RawIp));
    }

    #[test]
    fn headers_of_every_length_are_kept_whole() {
        let bytes: Vec<u8> = (0..=u8::MAX).collect();
        for len in 0..=BYTES + 20 {
            let mut history = History::new(2, 0, Keep::All, 5);
            history.put(&record(1000, 7, flags::SYN), Link::Ethernet, &[0xee; BYTES]);
            history.put(&record(2000, 7, flags::SYN), Link::Ethernet, &[0xee; BYTES]);
            history.put(&record(3000, 7, flags::SYN), Link::Ethernet, &bytes[..len]);
            let packets = history.find(&Tuple::of(&record(0, 7, 0), false).0, 9000);
            assert_eq!(packets[1].bytes, bytes[..len.min(BYTES)], "{len} bytes");
        }
    }

    #[test]
    fn the_ring_forgets_the_oldest() {
        let mut history = History::new(4, 0, Keep::All, 5);
        for n in 0..6 {
            history.put(&record(n * 1000, 7, flags::SYN), Link::Ethernet, &[0; 60]);
        }
        assert_eq!(found(&history, 7, 5000), [2000, 3000, 4000, 5000]);
    }

    #[test]
    fn what_came_later_changes_no_answer() {
        let mut history = History::new(3, 4, Keep::All, 5);
        for n in 0..5 {
            history.put(&record(n * 1000, 7, flags::SYN), Link::Ethernet, &[0; 60]);
        }
        let before = found(&history, 7, 4000);
        for n in 5..9 {
            history.put(&record(n * 1000, 8, flags::SYN), Link::Ethernet, &[0; 60]);
            assert_eq!(found(&history, 7, 4000), before);
        }
        assert_eq!(before, [2000, 3000, 4000]);
    }

    #[test]
    fn data_is_kept_only_of_tuples_in_transition() {
        let mut history = History::new(8, 0, Keep::Transitions, 5);
        let second = 1_000_000_000;
        history.put(&record(second, 7, flags::ACK), Link::Ethernet, &[0; 60]);
        history.put(&record(2 * second, 7, flags::SYN), Link::Ethernet, &[0; 60]);
        history.put(&record(6 * second, 7, flags::ACK), Link::Ethernet, &[0; 60]);
        history.put(&record(8 * second, 7, flags::ACK), Link::Ethernet, &[0; 60]);
        history.put(&record(9 * second, 7, flags::RST), Link::Ethernet, &[0; 60]);
        let seconds: Vec<u64> =
            found(&history, 7, 20 * second).iter().map(|at_ns| at_ns / second).collect();
        assert_eq!(seconds, [2, 6, 9]);
    }
}
