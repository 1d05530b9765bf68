//! What the program counts, per CPU: every frame once, by what became of it and whether it went on
//! to the host's stack.

use crate::wire::Skip;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Handed to user space.
    Selected,
    /// A TCP segment of a tuple that is not in transition.
    Unselected,
    /// Wanted, but no socket is bound to its receive queue.
    NoSocket,
    /// Handed to user space without a head, for want of room: its time is the batch's.
    NoHeadroom,
    /// Wanted, but its payload could not be cut off, and payload never reaches user space.
    NotCut,
    /// Wanted, but the ring buffer to user space was full (`--mode tap`).
    RingFull,
    /// Not of the encapsulation asked for (`--encap`).
    OtherTraffic,
    /// No usable segment.
    Skipped(Skip),
}

/// Outcomes before the skip reasons.
const PLAIN: usize = 7;

/// Different outcomes.
pub const OUTCOMES: usize = PLAIN + Skip::ALL.len();

/// Counters in the map: outcomes of frames that ended here, outcomes of frames that went on to the
/// stack, then the ones in [`extra`].
pub const COUNTERS: usize = 2 * OUTCOMES + extra::COUNT;

/// Counters that are no outcome.
pub mod extra {
    /// Frames that the program saw.
    pub const SEEN: usize = 2 * super::OUTCOMES;
    /// Bytes of those frames on the wire.
    pub const BYTES: usize = SEEN + 1;
    /// Data segments that only a tuple's transition selected.
    pub const IN_TRANSITION: usize = SEEN + 2;
    /// No count: the clock when this CPU last read it, nanoseconds.
    pub const CLOCK_NS: usize = SEEN + 3;
    /// How many there are.
    pub const COUNT: usize = 4;
}

impl Outcome {
    /// All of them, in the order of their counters.
    pub fn all() -> impl Iterator<Item = Self> {
        let plain = [
            Self::Selected,
            Self::Unselected,
            Self::NoSocket,
            Self::NoHeadroom,
            Self::NotCut,
            Self::RingFull,
            Self::OtherTraffic,
        ];
        plain.into_iter().chain(Skip::ALL.iter().map(|skip| Self::Skipped(*skip)))
    }

    /// The counter of frames with this outcome that did, or did not, go on to the stack.
    #[inline(always)]
    #[must_use]
    pub fn index(self, passed: bool) -> usize {
        let index = match self {
            Self::Selected => 0,
            Self::Unselected => 1,
            Self::NoSocket => 2,
            Self::NoHeadroom => 3,
            Self::NotCut => 4,
            Self::RingFull => 5,
            Self::OtherTraffic => 6,
            Self::Skipped(skip) => PLAIN + skip as usize,
        };
        index + if passed { OUTCOMES } else { 0 }
    }

    /// The name under which it is printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Selected => "selected",
            Self::Unselected => "unselected",
            Self::NoSocket => "no_socket",
            Self::NoHeadroom => "no_headroom",
            Self::NotCut => "not_cut",
            Self::RingFull => "tap_ring_full",
            Self::OtherTraffic => "other_traffic",
            Self::Skipped(skip) => skip.name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_own_counter_and_name() {
        let all: Vec<_> = Outcome::all().collect();
        assert_eq!(all.len(), OUTCOMES);
        for (n, outcome) in all.iter().enumerate() {
            assert_eq!(outcome.index(false), n);
            assert_eq!(outcome.index(true), n + OUTCOMES);
            assert!(all[..n].iter().all(|other| other.name() != outcome.name()));
        }
    }
}
