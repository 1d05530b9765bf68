//! The tuple: both ends of a connection in one order, whichever end sent; its hash, owner and ids.
//!
//! Two ids leave the process (`flow_id`, `alert.id`): they are hashed with a fixed key, so that the
//! same capture gives the same ids everywhere. The table's own hash is keyed at random.

use core::hash::{BuildHasher, Hash, Hasher};

use ahash::RandomState;
use xdpwatch_prog::record::Record;

use crate::finding::Endpoint;

/// One end of a tuple: A is the end that sorts lower by address, then port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The lower end.
    A = 0,
    /// The higher end.
    B = 1,
}

impl Side {
    /// The end facing this one.
    #[inline]
    #[must_use]
    pub fn peer(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Index into a pair held in the order A, B.
    #[inline]
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// B if `is_b`, else A.
    #[inline]
    #[must_use]
    pub fn from_bit(is_b: bool) -> Self {
        if is_b { Self::B } else { Self::A }
    }
}

/// A 4-tuple within one virtual network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tuple {
    /// The lower end.
    pub a: Endpoint,
    /// The higher end.
    pub b: Endpoint,
    /// The network it lives in: VNI, with the VLAN ids folded in when they are part of the key.
    pub realm: u32,
}

impl Hash for Tuple {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().feed(state);
    }
}

impl Tuple {
    /// The tuple of a record, and which end sent it.
    #[inline]
    #[must_use]
    pub fn of(record: &Record, vlan_key: bool) -> (Self, Side) {
        let src = Endpoint { addr: record.src_addr, port: record.src_port };
        let dst = Endpoint { addr: record.dst_addr, port: record.dst_port };
        Self::between(src, dst, realm(record, vlan_key))
    }

    /// The tuple of two ends within a network, and which of its ends the first is.
    #[inline]
    #[must_use]
    pub fn between(src: Endpoint, dst: Endpoint, realm: u32) -> (Self, Side) {
        if src.number() <= dst.number() {
            (Self { a: src, b: dst, realm }, Side::A)
        } else {
            (Self { a: dst, b: src, realm }, Side::B)
        }
    }

    /// The endpoint at `side`.
    #[inline]
    #[must_use]
    pub fn end(&self, side: Side) -> Endpoint {
        match side {
            Side::A => self.a,
            Side::B => self.b,
        }
    }

    /// The tuple in as few words as it needs.
    #[inline]
    #[must_use]
    pub fn key(&self) -> Key {
        let [a, b] = [self.a.addr, self.b.addr].map(u128::from_be_bytes);
        let last = last_word(self.a.port, self.b.port, self.realm);
        if a >> 32 == V4_MAPPED && b >> 32 == V4_MAPPED {
            Key::V4([(a as u64) << 32 | (b as u64 & 0xffff_ffff), last])
        } else {
            Key::V6([(a >> 64) as u64, a as u64, (b >> 64) as u64, b as u64, last])
        }
    }

    /// A stable 64-bit id: tuple, network, time of the first packet in microseconds, and a salt that
    /// keeps kinds of ids apart. Only the low 40 bits of the time count (they span 12.7 days).
    #[must_use]
    pub fn id(&self, first_us: u64, salt: u64) -> u64 {
        let mut id = Fnv::new(salt);
        for end in [self.a, self.b] {
            id.add(&end.addr);
            id.add(&end.port.to_be_bytes());
        }
        id.add(&self.realm.to_be_bytes());
        id.add(&(first_us & ((1 << 40) - 1)).to_be_bytes());
        id.finish()
    }
}

/// The VLAN ids of a record, outermost first.
#[must_use]
pub fn vlans(record: &Record) -> &[u16] {
    &record.vlans[..usize::from(record.vlan_count.min(2))]
}

/// What an IPv4 address mapped into IPv6 has above its own 32 bits.
const V4_MAPPED: u128 = 0xffff;

/// A tuple as the tables know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Both addresses are IPv4.
    V4([u64; 2]),
    /// Any other.
    V6([u64; 5]),
}

impl Key {
    /// The key of a record's tuple, and which end sent it: what [`Tuple::of`] and [`Tuple::key`] give.
    #[inline(always)]
    #[must_use]
    pub fn of(record: &Record, vlan_key: bool) -> (Self, Side) {
        let (Some(src), Some(dst)) = (v4(&record.src_addr), v4(&record.dst_addr)) else {
            let (tuple, sender) = Tuple::of(record, vlan_key);
            return (tuple.key(), sender);
        };
        let realm = realm(record, vlan_key);
        let src = u64::from(src) << 16 | u64::from(record.src_port);
        let dst = u64::from(dst) << 16 | u64::from(record.dst_port);
        let sender = Side::from_bit(src > dst);
        let (a, b) = (src.min(dst), src.max(dst));
        let last = last_word(a as u16, b as u16, realm);
        (Self::V4([a >> 16 << 32 | b >> 16, last]), sender)
    }

    /// Ports of both ends, A then B.
    #[inline]
    #[must_use]
    pub fn ports(&self) -> [u16; 2] {
        let (Self::V4([.., last]) | Self::V6([.., last])) = self;
        [(last >> 48) as u16, (last >> 32) as u16]
    }

    /// The same in no network.
    #[inline]
    #[must_use]
    pub fn without_realm(mut self) -> Self {
        let (Self::V4([.., last]) | Self::V6([.., last])) = &mut self;
        *last &= !u64::from(u32::MAX);
        self
    }

    /// The tuple that has this key.
    #[must_use]
    pub fn tuple(&self) -> Tuple {
        let v4 = |address: u64| V4_MAPPED << 32 | u128::from(address as u32);
        let v6 = |high: u64, low: u64| u128::from(high) << 64 | u128::from(low);
        let (a, b, last) = match *self {
            Self::V4([ends, last]) => (v4(ends >> 32), v4(ends), last),
            Self::V6([a, b, c, d, last]) => (v6(a, b), v6(c, d), last),
        };
        let end = |addr: u128, port: u64| Endpoint { addr: addr.to_be_bytes(), port: port as u16 };
        Tuple { a: end(a, last >> 48), b: end(b, last >> 32), realm: last as u32 }
    }

    /// Keyed hash for tables.
    #[inline]
    #[must_use]
    pub fn hash_with(&self, state: &RandomState) -> u64 {
        let mut hasher = state.build_hasher();
        self.feed(&mut hasher);
        hasher.finish()
    }

    #[inline]
    fn feed<H: Hasher>(&self, state: &mut H) {
        let two = |a: u64, b: u64| u128::from(a) << 64 | u128::from(b);
        match *self {
            Self::V4([ends, last]) => state.write_u128(two(ends, last)),
            Self::V6([a, b, c, d, last]) => {
                state.write_u128(two(a, b));
                state.write_u128(two(c, d));
                state.write_u64(last);
            }
        }
    }
}

/// A mapped IPv4 address as a number; `None` for any other.
#[inline]
fn v4(addr: &[u8; 16]) -> Option<u32> {
    let word = |at: usize| u32::from_ne_bytes([addr[at], addr[at + 1], addr[at + 2], addr[at + 3]]);
    let is_mapped = (word(0) | word(4)) == 0 && word(8) == 0xffff_u32.to_be();
    is_mapped.then_some(u32::from_be(word(12)))
}

/// The last word of a key.
#[inline]
fn last_word(a_port: u16, b_port: u16, realm: u32) -> u64 {
    u64::from(a_port) << 48 | u64::from(b_port) << 32 | u64::from(realm)
}

/// The network that the record's tuple lives in.
#[inline]
fn realm(record: &Record, vlan_key: bool) -> u32 {
    if vlan_key { with_vlans(record) } else { record.vni }
}

/// VNI and VLAN ids in 32 bits. Networks that use VNIs above 2^20 *and* VLANs may share a value.
fn with_vlans(record: &Record) -> u32 {
    vlans(record)
        .iter()
        .fold(record.vni, |realm, vlan| realm.rotate_left(12) ^ u32::from(*vlan) ^ 0x8000_0000)
}

/// Which of `workers` owns the tuple of this record; the same for both directions.
#[inline]
#[must_use]
pub fn owner(record: &Record, seed: u64, workers: usize) -> usize {
    if workers <= 1 { 0 } else { owner_of(&Key::of(record, false).0, seed, workers) }
}

/// Which of `workers` owns the tuple with this key.
///
/// Its network is left out on purpose: both directions must meet even where their VLANs differ.
#[inline]
#[must_use]
pub fn owner_of(key: &Key, seed: u64, workers: usize) -> usize {
    let state = RandomState::with_seeds(seed, !seed, seed.rotate_left(32), 0x7864_7077);
    let hash = key.without_realm().hash_with(&state);
    usize::try_from((u128::from(hash) * workers as u128) >> 64).unwrap_or(0)
}

/// FNV-1a with a final mix: short inputs, stable across platforms and versions. 63 bits, because
/// stores with signed 64-bit integers take the ids too.
pub(crate) struct Fnv(u64);

impl Fnv {
    pub(crate) fn new(salt: u64) -> Self {
        Self(0xcbf2_9ce4_8422_2325 ^ salt)
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(crate) fn finish(self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        (mixed ^ (mixed >> 33)) >> 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(src: u8, dst: u8) -> Record {
        let mut record = Record { src_port: 40000, dst_port: 80, ..Record::default() };
        record.src_addr[15] = src;
        record.dst_addr[15] = dst;
        record
    }

    fn reversed(record: &Record) -> Record {
        Record {
            src_addr: record.dst_addr,
            dst_addr: record.src_addr,
            src_port: record.dst_port,
            dst_port: record.src_port,
            ..*record
        }
    }

    #[test]
    fn both_directions_are_one_tuple_with_one_owner() {
        let there = record(1, 2);
        let back = reversed(&there);
        assert_eq!(Tuple::of(&there, false).0, Tuple::of(&back, false).0);
        assert_ne!(Tuple::of(&there, false).1, Tuple::of(&back, false).1);
        assert_eq!(owner(&there, 7, 5), owner(&back, 7, 5));
    }

    #[test]
    fn a_key_stands_for_its_tuple() {
        let v4 = |last| {
            let mut addr = [0; 16];
            addr[10..].copy_from_slice(&[0xff, 0xff, 10, 1, 2, last]);
            addr
        };
        for (src_addr, dst_addr) in [(v4(9), v4(3)), ([0x20; 16], v4(3)), ([0x20; 16], [0xfe; 16])]
        {
            let there = Record { src_addr, dst_addr, vni: 77, ..record(1, 2) };
            let (tuple, sender) = Tuple::of(&there, false);
            assert_eq!(tuple.key().tuple(), tuple);
            assert_eq!(tuple.key().ports(), [tuple.a.port, tuple.b.port]);
            assert_eq!(Key::of(&there, false), (tuple.key(), sender));
            let back = reversed(&there);
            assert_eq!(Key::of(&back, false), (tuple.key(), Tuple::of(&back, false).1));
            let is_v4 = src_addr == v4(9);
            assert_eq!(matches!(tuple.key(), Key::V4(_)), is_v4);
        }
    }

    #[test]
    fn owners_are_spread_evenly() {
        let mut counts = [0u32; 4];
        for n in 0..40_000u32 {
            let port = u16::try_from(n % 60_000).unwrap_or(0);
            counts[owner(&Record { src_port: port, ..record(1, 2) }, 99, 4)] += 1;
        }
        assert!(counts.iter().all(|count| (9_000..11_000).contains(count)), "{counts:?}");
    }

    #[test]
    fn vlans_are_part_of_the_tuple_only_when_asked() {
        let tagged = Record { vlans: [7, 0], vlan_count: 1, ..record(1, 2) };
        assert_eq!(Tuple::of(&tagged, false).0, Tuple::of(&record(1, 2), false).0);
        assert_ne!(Tuple::of(&tagged, true).0, Tuple::of(&record(1, 2), true).0);
    }
}
