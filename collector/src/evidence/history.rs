//! The headers of recent segments as they were seen, one behind the other in a ring that costs its memory
//! and a few stores per segment: what evidence is taken from when an alert comes.
//!
//! Nothing is indexed on the way in; looking a tuple up reads all tags, 4 bytes per segment.

use xdpwatch_core::tuple::Tuple;
use xdpwatch_prog::record::{Record, marks};
use xdpwatch_prog::wire::{Link, parse_record};

use super::transitions::Transitions;

/// Bytes kept of a frame at most: Ethernet, two VLAN tags, IPv6 and the longest TCP header, or
/// IPv4 in VXLAN.
pub const BYTES: usize = 176;

/// Bytes that there is room for per segment: Ethernet, a VLAN tag, IPv4 and TCP with usual options.
/// Where headers are longer, fewer segments are remembered.
const BYTES_USUAL: usize = 80;

/// Segments of one tuple that are handed out at most, the latest.
const FOUND_MAX: usize = 512;

/// What is known of one frame besides its headers.
#[derive(Clone, Copy, Debug)]
struct Segment {
    at_ns: u64,
    /// Where its headers begin: bytes ever written before, the ring's unused ends included.
    begin: u64,
    frame_len: u32,
    len: u8,
    link: Link,
}

const NONE: Segment = Segment { at_ns: 0, begin: 0, frame_len: 0, len: 0, link: Link::Ethernet };

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

impl Packet {
    /// Whether it is a segment of these two ends, in whichever network.
    fn is_between(&self, tuple: &Tuple) -> bool {
        let record = parse_record(&self.bytes, self.frame_len, self.at_ns, self.link);
        record.is_ok_and(|record| {
            let (own, _) = Tuple::of(&record, false);
            (own.a, own.b) == (tuple.a, tuple.b)
        })
    }
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
    tags: Box<[u32]>,
    segments: Box<[Segment]>,
    bytes: Box<[u8]>,
    /// The next segment's place, and how many were kept before the first place's.
    place: usize,
    before: u64,
    /// Where its headers are to begin in `bytes`, and what was written before their first.
    at: usize,
    base: u64,
    /// How far back from the segment asked about is looked: segments and bytes.
    depth: u64,
    depth_bytes: u64,
    /// What is kept, if not all.
    transitions: Option<Transitions>,
    keys: [u64; 2],
}

impl History {
    /// Bytes of memory for each segment.
    pub const BYTES_EACH: usize = size_of::<u32>() + size_of::<Segment>() + BYTES_USUAL;

    /// Looks back over `depth` segments; `ahead` more are kept, for questions about a time that the
    /// ring has passed by so much already.
    #[must_use]
    pub fn new(depth: usize, ahead: usize, keep: Keep, seed: u64) -> Self {
        let depth = depth.max(1);
        let places = depth + ahead;
        let depth_bytes = depth * BYTES_USUAL;
        // What comes later may all be as long as can be, and leave the ring's end unused.
        let bytes = depth_bytes + (ahead + 2) * BYTES;
        Self {
            tags: vec![0; places].into_boxed_slice(),
            segments: vec![NONE; places].into_boxed_slice(),
            bytes: vec![0; bytes].into_boxed_slice(),
            place: 0,
            before: 0,
            at: 0,
            base: 0,
            depth: depth as u64,
            depth_bytes: depth_bytes as u64,
            transitions: (keep == Keep::Transitions).then(Transitions::new),
            keys: [seed | 1, seed.rotate_left(32).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1],
        }
    }

    /// Takes a segment: its record, and the frame up to the end of its TCP header.
    #[inline]
    pub fn put(&mut self, record: &Record, link: Link, headers: &[u8]) {
        let hash = self.hash(
            record.has_mark(marks::IPV6),
            (&record.src_addr, record.src_port),
            (&record.dst_addr, record.dst_port),
        );
        if let Some(transitions) = &mut self.transitions
            && !transitions.take(record, hash)
        {
            return;
        }
        let len = headers.len().min(BYTES);
        if self.at + BYTES > self.bytes.len() {
            self.wrap();
        }
        if let Some(room) = self.bytes.get_mut(self.at..self.at + BYTES) {
            copy(&headers[..len], room);
        }
        let (at_ns, frame_len) = (record.at_ns, record.frame_len);
        let begin = self.base + self.at as u64;
        let place = self.place;
        self.tags[place] = (hash >> 32) as u32;
        self.segments[place] = Segment { at_ns, begin, frame_len, len: len as u8, link };
        self.at += len;
        self.place = place + 1;
        if self.place == self.tags.len() {
            self.before += self.place as u64;
            self.place = 0;
        }
    }

    /// Begins the ring anew; its end stays unused.
    #[cold]
    fn wrap(&mut self) {
        self.base += self.bytes.len() as u64;
        self.at = 0;
    }

    /// The segments between `tuple`'s ends, seen not after `end_ns`, oldest first.
    #[must_use]
    pub fn find(&self, tuple: &Tuple, end_ns: u64) -> Vec<Packet> {
        let Tuple { a, b, .. } = tuple;
        let tag = (self.hash(true, (&a.addr, a.port), (&b.addr, b.port)) >> 32) as u32;
        let places = self.tags.len() as u64;
        let segment = |number: u64| &self.segments[(number % places) as usize];
        // Findings have whole microseconds.
        let is_later = |number: &u64| segment(*number).at_ns / 1000 > end_ns / 1000;
        let next = self.before + self.place as u64;
        let oldest = next.saturating_sub(places);
        let later = (oldest..next).rev().take_while(is_later).count() as u64;
        let Some(last) = (next - later).checked_sub(1) else { return Vec::new() };
        let last_byte = segment(last).begin + u64::from(segment(last).len);
        let written = self.base + self.at as u64;
        let oldest_byte = last_byte
            .saturating_sub(self.depth_bytes)
            .max(written.saturating_sub(self.bytes.len() as u64));
        let mut found: Vec<Packet> = ((last + 1).saturating_sub(self.depth).max(oldest)..=last)
            .rev()
            .filter(|number| self.tags[(number % places) as usize] == tag)
            .map(segment)
            .take_while(|segment| segment.begin >= oldest_byte)
            .map(|segment| self.packet(segment))
            // Whoever has the same tag by chance or by intent takes no place from those asked for.
            .filter(|packet| packet.is_between(tuple))
            .take(FOUND_MAX)
            .collect();
        found.reverse();
        found
    }

    fn packet(&self, segment: &Segment) -> Packet {
        let Segment { at_ns, begin, frame_len, len, link } = *segment;
        let at = (begin % self.bytes.len() as u64) as usize;
        Packet { at_ns, frame_len, link, bytes: self.bytes[at..at + usize::from(len)].to_vec() }
    }

    /// The same for both directions, and keyed; its upper bits are the good ones. Strangers who choose
    /// tuples of one hash cost a look at each, and only when one of them is asked for.
    ///
    /// Halves of addresses are read as the parser has just written them: all 16 bytes at once would wait
    /// until the writes are done. The first halves of IPv4 addresses are all the same.
    #[inline]
    fn hash(&self, is_v6: bool, one: (&[u8; 16], u16), other: (&[u8; 16], u16)) -> u64 {
        // An IPv4 address lies in the uppermost bits, and nothing that differs below.
        let ports = u64::from(one.1) * u64::from(other.1);
        let hash = (half(one.0, 1) ^ half(other.0, 1) ^ ports).wrapping_mul(self.keys[1]);
        if !is_v6 {
            return hash;
        }
        hash.wrapping_add((half(one.0, 0) ^ half(other.0, 0)).wrapping_mul(self.keys[0]))
    }
}

#[inline]
fn half(addr: &[u8; 16], n: usize) -> u64 {
    u64::from_le_bytes(addr.as_chunks::<8>().0[n])
}

/// Copies so few bytes in two pieces that may overlap: a call would cost more than the copy.
#[inline]
fn copy(from: &[u8], to: &mut [u8]) {
    match from.len() {
        // Ethernet, IPv4 and TCP with most options.
        48..=80 => copy_ends::<48, 32>(from, to),
        81..=128 => copy_ends::<64, 64>(from, to),
        len => to[..len].copy_from_slice(from),
    }
}

/// Copies the first `N` bytes and the last `M`; there are at least so many, and at most both.
#[inline]
fn copy_ends<const N: usize, const M: usize>(from: &[u8], to: &mut [u8]) {
    if let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<M>()) {
        to[..N].copy_from_slice(first);
        to[from.len() - M..][..M].copy_from_slice(last);
    }
}

#[cfg(test)]
mod tests;
