//! Clocks that hosts take their initial sequence numbers and timestamps from, seen where a tuple comes
//! back: on one tuple the secret offset is the same each time, so two numbers differ by the time between.
//!
//! RFC 6528's M: Linux counts 64 ns (`net/core/secure_seq.c`), macOS 128 ns. FreeBSD and OpenBSD number only
//! their own SYNs so, at 1 MiB/s (`tcp_new_isn()`, `tcp_set_iss_tsm()`): their SYN/ACKs are random.

use alloc::vec;
use alloc::vec::Vec;

use ahash::RandomState;
use xdpwatch_prog::record::flags;

use crate::flow::SECOND_US;
use crate::host::{freebsd, openbsd};
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

/// How late a timestamp may be seen, microseconds: a tick of the slowest clock, and the way.
const DELAY_US: u64 = 20_000;

/// What the connections between the two may have added to a number of FreeBSD.
const ADDED_MOST: u64 = 1 << 16;

/// The clock that a host's numbers follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// 64 ns.
    Ns64,
    /// 128 ns.
    Ns128,
    /// 1 MiB/s, and a little for each connection.
    MibPerS,
    /// The same in steps of 4096.
    MibPerSInSteps,
    /// None of these: another system, another host behind the address, or a TIME-WAIT recycled.
    Neither,
}

/// How the timestamps of two connections on a tuple go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// At 1000 ticks a second.
    PerMs,
    /// At 250 or 100.
    Slower,
    /// Not at all: another offset, or another host.
    Jumped,
}

/// What a connection's first numbers say beside those of the one before on its tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The sequence number's clock.
    pub line: Line,
    /// The timestamp's, where both have one.
    pub clock: Option<Clock>,
    /// Whether the host sent the SYN, rather than the SYN/ACK.
    pub opened: bool,
}

/// The first numbers of an end's latest connection on a tuple.
#[derive(Clone, Copy, Debug)]
struct Begun {
    tuple: Tuple,
    end: Side,
    opened: bool,
    isn: u32,
    ts_val: Option<u32>,
    at_us: u64,
}

/// The latest first numbers of both ends of tuples. All memory is bounded.
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

    /// Takes a step; if its sender begins another connection on the tuple than before: what its numbers
    /// say.
    pub fn see(&mut self, step: &Step, tuple: &Tuple, at_us: u64) -> Option<Reading> {
        let begins = match step.what {
            What::Opened { .. } | What::Moved => step.has(flags::SYN) && !step.has(flags::RST),
            What::SynOnHeld => true,
            _ => false,
        };
        if !begins {
            return None;
        }
        let (end, opened) = (step.sender, step.is_pure_syn());
        let slot = self.state.hash_one((tuple, end.index())) as usize % PLACES;
        let same = |old: &Begun| old.tuple == *tuple && old.end == end && old.opened == opened;
        let known = self.begun[slot].filter(same);
        if known.is_some_and(|old| old.isn == step.seq) {
            // The same number again is a repetition: the first one has the clock's time.
            return None;
        }
        let (isn, ts_val) = (step.seq, step.ts_val);
        self.begun[slot] = Some(Begun { tuple: *tuple, end, opened, isn, ts_val, at_us });
        let known = known?;
        let apart_us = at_us.saturating_sub(known.at_us);
        let clock = || Some(clock(ahead(ts_val?, known.ts_val?), apart_us));
        APART_US.contains(&apart_us).then(|| Reading {
            line: line(isn.wrapping_sub(known.isn), apart_us, opened),
            clock: clock(),
            opened,
        })
    }
}

/// The clock that counts so far in this time.
fn line(counted: u32, apart_us: u64, opened: bool) -> Line {
    let is_near = |tick_ns: u64| {
        let ticks = |us: u64| us * 1000 / tick_ns;
        let off = ahead(counted, ticks(apart_us) as u32);
        u64::from(off.unsigned_abs()) <= ticks(JITTER_US + apart_us / DRIFT)
    };
    if is_near(64) {
        Line::Ns64
    } else if is_near(128) {
        Line::Ns128
    } else if opened {
        by_second(u64::from(counted), apart_us)
    } else {
        Line::Neither
    }
}

/// The clock of a SYN of FreeBSD or OpenBSD; other connections of the host have added to it.
fn by_second(counted: u64, apart_us: u64) -> Line {
    let bytes = |us: u64, per_s: u64| us * per_s / SECOND_US;
    let slack_us = JITTER_US + apart_us / DRIFT;
    let steps = bytes(apart_us, openbsd::ISN_PER_S);
    let step = bytes(SECOND_US / 2 + slack_us, openbsd::ISN_PER_S);
    let in_steps = counted.is_multiple_of(u64::from(openbsd::ISN_STEP))
        && (steps.saturating_sub(step)..=steps + 2 * step).contains(&counted);
    let even = bytes(apart_us, freebsd::ISN_PER_S);
    let slack = bytes(slack_us, freebsd::ISN_PER_S);
    if in_steps {
        Line::MibPerSInSteps
    } else if (even.saturating_sub(slack)..=even + slack + ADDED_MOST).contains(&counted) {
        Line::MibPerS
    } else {
        Line::Neither
    }
}

/// How a timestamp that moved so far in this time goes on.
fn clock(moved: i32, apart_us: u64) -> Clock {
    let goes_on_at = |per_s: u64| {
        let off = i64::from(moved) - (apart_us * per_s / SECOND_US).cast_signed();
        off.unsigned_abs() <= (DELAY_US + apart_us / DRIFT) * per_s / SECOND_US + 1
    };
    match () {
        () if goes_on_at(1000) => Clock::PerMs,
        () if goes_on_at(250) || goes_on_at(100) => Clock::Slower,
        () => Clock::Jumped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_tell_their_clock() {
        let of = |counted: u32, apart_us| line(counted, apart_us, false);
        // Measured: 1 020 439 110 in 65.3 s.
        assert_eq!(of(1_020_439_110, 65_308_000), Line::Ns64);
        assert_eq!(of(15_625_000, SECOND_US), Line::Ns64);
        assert_eq!(of(7_812_500, SECOND_US), Line::Ns128);
        // 200 s wrap neither clock's half circle alike.
        assert_eq!(of((200 * 15_625_000_u64) as u32, 200 * SECOND_US), Line::Ns64);
        assert_eq!(of(65_537, 2 * SECOND_US), Line::Neither);
        // Field case 5: another host on the tuple.
        assert_eq!(of(352_641_918, 60_833_000), Line::Neither);
    }

    #[test]
    fn slow_lines_are_those_of_syns() {
        let (second, mib) = (SECOND_US, 1 << 20);
        assert_eq!(line(10 * mib + 6_001, 10 * second, true), Line::MibPerS);
        assert_eq!(line(10 * mib + 6_001, 10 * second, false), Line::Neither);
        // Half a second behind, and three connections since.
        assert_eq!(line(19 * mib / 2 + 3 * 4096, 10 * second, true), Line::MibPerSInSteps);
        assert_eq!(line(12 * mib, 10 * second, true), Line::Neither);
        assert_eq!(line(mib, 10 * second, true), Line::Neither);
    }

    #[test]
    fn timestamps_tell_their_rate() {
        for (moved, said) in [
            (60_000, Clock::PerMs),
            (60_015, Clock::PerMs),
            (15_000, Clock::Slower),
            (6_000, Clock::Slower),
            (0, Clock::Jumped),
            (-60_000, Clock::Jumped),
            (90_000, Clock::Jumped),
        ] {
            assert_eq!(clock(moved, 60 * SECOND_US), said, "{moved}");
        }
    }
}
