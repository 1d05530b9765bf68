//! Flows in the form in which they outlast a process: as words, in a version of their own. Where the
//! words are kept is the caller's business.

use arrayvec::ArrayVec;

use crate::entry::{self, Entry};
use crate::flow::Flow;
use crate::tuple::{Key, Tuple};

/// The version of the words. It changes with everything that keys and [`Entry`] hold.
pub const VERSION: u32 = 1;

/// Words of an IPv4 tuple with its flow.
pub const V4_WORDS: usize = 2 + entry::WORDS;

/// Words of any other tuple with its flow.
pub const V6_WORDS: usize = 5 + entry::WORDS;

/// A tuple and its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The tuple, with the network that it lives in.
    pub tuple: Tuple,
    /// The connection.
    pub flow: Flow,
}

impl Saved {
    /// The words: [`V4_WORDS`] or [`V6_WORDS`] of them.
    #[must_use]
    pub fn words(&self) -> ArrayVec<u64, V6_WORDS> {
        let mut words = ArrayVec::new();
        match self.tuple.key() {
            Key::V4(key) => words.extend(key),
            Key::V6(key) => words.extend(key),
        }
        words.extend(*self.flow.pack().words());
        words
    }

    /// What the words say; `None` if their number is neither. Times are completed to those nearest
    /// `near_ns`, when they were written, and moved by `later_ns`.
    #[must_use]
    pub fn of_words(words: &[u64], near_ns: u64, later_ns: i64) -> Option<Self> {
        let (key, flow) = words.split_at_checked(words.len().checked_sub(entry::WORDS)?)?;
        let key = match key.len() {
            2 => Key::V4(key.try_into().ok()?),
            5 => Key::V6(key.try_into().ok()?),
            _ => return None,
        };
        let entry = Entry::from_words(flow.try_into().ok()?);
        let mut flow = Flow::unpack(&entry, near_ns / 1000);
        for time_us in [&mut flow.first_us, &mut flow.last_us, &mut flow.changed_us] {
            *time_us = time_us.saturating_add_signed(later_ns / 1000);
        }
        Some(Self { tuple: key.tuple(), flow })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Endpoint;
    use crate::flow::{End, Marks, State};

    const NEAR_NS: u64 = 1_700_000_000_000_000_000;

    fn saved(addr: [u8; 16]) -> Saved {
        let us = NEAR_NS / 1000;
        let end = |next| End { next, ts_val: next + 1, window: 29_200, scale: 7 };
        let flow = Flow {
            first_us: us - 9_000_000,
            last_us: us - 5,
            changed_us: us - 7,
            rearmed_ms: 3,
            idle_ms: 30_030,
            isn: 77,
            ends: [end(100), end(1 << 31)],
            state: State::TimeWait,
            marks: Marks(0x5a5),
        };
        let end = |port| Endpoint { addr, port };
        Saved { tuple: Tuple::between(end(80), end(40_000), 7).0, flow }
    }

    #[test]
    fn words_are_read_back_and_times_moved() {
        for addr in [[0x20; 16], *b"\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\x01\x02\x03"] {
            let saved = saved(addr);
            let words = saved.words();
            assert_eq!(Saved::of_words(&words, NEAR_NS, 0), Some(saved));
            let moved = Saved::of_words(&words, NEAR_NS, -2_000_000).unwrap().flow;
            assert_eq!(moved.last_us, saved.flow.last_us - 2000);
            assert_eq!(Saved::of_words(&words[1..], NEAR_NS, 0), None);
        }
    }

    /// Who changes what is written here gives it another [`VERSION`].
    #[test]
    fn the_version_stands_for_these_words() {
        let words = saved(*b"\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\x01\x02\x03").words();
        assert_eq!(VERSION, 1);
        assert_eq!(words.as_slice(), WORDS_OF_VERSION_1, "{words:#x?}");
    }

    const WORDS_OF_VERSION_1: &[u64] = &[
        0x0a01_0203_0a01_0203,
        0x0050_9c40_0000_0007,
        0x2417_94eb_c000_754e,
        0x2418_1e3f_fb00_0003,
        0x2418_1e3f_f975_a577,
        0x0000_004d_7210_7210,
        0x0000_0064_8000_0000,
        0x0000_0065_8000_0001,
    ];
}
