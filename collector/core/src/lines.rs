//! Clocks that hosts take their initial sequence numbers from: RFC 6528's M, seen where a tuple comes
//! back. Linux counts 64 ns (`net/core/secure_seq.c`), macOS 128 ns.
//!
//! On one tuple the secret offset is the same each time, so two numbers differ by the time between.

use alloc::vec;
use alloc::vec::Vec;

use ahash::RandomState;
use xdpwatch_prog::record::flags;

use crate::flow::SECOND_US;
use crate::seq::ahead;
use crate::step::{Step, What};
use crate::tuple::{Side, Tuple};

/// Numbers remembered; a later one on the same place takes it.
const PLACES: usize = 1 << 14;

/// Two numbers are compared if they are this far apart, microseconds: sooner the two clocks look alike,
/// later the drift between the host's clock and the capture's is too much.
const APART_US: core::ops::RangeInclusive<u64> = SECOND_US..=300 * SECOND_US;

/// What a number may be off the line, microseconds: the way to the capture, and its jitter.
const JITTER_US: u64 = 1000;

/// What two clocks may drift apart, one in so many: 100 ppm.
const DRIFT: u64 = 10_000;

/// The clock that a host's numbers follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// 64 ns.
    Ns64,
    /// 128 ns.
    Ns128,
    /// None of these: another system, another host behind the address, or a TIME-WAIT recycled.
    Neither,
}

/// A server's latest initial sequence number on a tuple.
#[derive(Clone, Copy, Debug)]
struct Begun {
    tuple: Tuple,
    server: Side,
    isn: u32,
    at_us: u64,
}

/// The latest initial sequence numbers of servers: only who gets SYNs can hold what they ask for. All
/// memory is bounded.
#[derive(Debug)]
pub struct Lines {
    begun: Vec<Option<Begun>>,
    state: RandomState,
}

impl Lines {
    /// Reserves everything it will ever need.
    #[must_use]
    pub fn new(state: RandomState) -> Self {
        Self { begun: vec![None; PLACES], state }
    }

    /// Takes a step; if it is a SYN/ACK whose sender began another connection on the tuple before:
    /// the clock that both numbers lie on.
    pub fn see(&mut self, step: &Step, tuple: &Tuple, at_us: u64) -> Option<Line> {
        let begins = matches!(step.what, What::Opened { .. } | What::Moved);
        let wanted = flags::SYN | flags::ACK;
        if !begins || step.flags & (wanted | flags::RST) != wanted {
            return None;
        }
        let slot = self.state.hash_one(tuple) as usize % PLACES;
        let begun = Begun { tuple: *tuple, server: step.sender, isn: step.seq, at_us };
        let known = self.begun[slot].filter(|old| old.tuple == *tuple && old.server == step.sender);
        if known.is_some_and(|old| old.isn == step.seq) {
            // The same number again is a repetition: the first one has the clock's time.
            return None;
        }
        self.begun[slot] = Some(begun);
        let known = known?;
        let apart_us = at_us.saturating_sub(known.at_us);
        APART_US.contains(&apart_us).then(|| line(ahead(step.seq, known.isn), apart_us))
    }
}

/// The clock that counts so far in this time.
fn line(counted: i32, apart_us: u64) -> Line {
    let is_near = |tick_ns: u64| {
        let ticks = |us: u64| us * 1000 / tick_ns;
        let off = ahead(counted.cast_unsigned(), ticks(apart_us) as u32);
        u64::from(off.unsigned_abs()) <= ticks(JITTER_US + apart_us / DRIFT)
    };
    if is_near(64) {
        Line::Ns64
    } else if is_near(128) {
        Line::Ns128
    } else {
        Line::Neither
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_tell_their_clock() {
        // Measured: 1 020 439 110 in 65.3 s.
        assert_eq!(line(1_020_439_110, 65_308_000), Line::Ns64);
        assert_eq!(line(15_625_000, SECOND_US), Line::Ns64);
        assert_eq!(line(7_812_500, SECOND_US), Line::Ns128);
        // 200 s wrap neither clock's half circle alike.
        assert_eq!(line((200 * 15_625_000_u64) as u32 as i32, 200 * SECOND_US), Line::Ns64);
        assert_eq!(line(65_537, 2 * SECOND_US), Line::Neither);
        // Field case 5: another host on the tuple.
        assert_eq!(line(352_641_918, 60_833_000), Line::Neither);
    }
}
