//! Whether a segment that one point alone saw was lost between the points, or only missed by the other
//! capture: what was acknowledged had arrived, and what the far point saw had passed the near one.

use std::collections::{HashMap, VecDeque};

use xdpwatch_core::finding::Endpoint;

use super::lost::{Alone, COPY_NS, Point};
use super::segment::Segment;

/// How long an acknowledgment is waited for, nanoseconds.
const ACKNOWLEDGED_NS: u64 = 10_000_000_000;

/// Around a segment that a capture is known to have missed, an ACK counts as missed too, nanoseconds.
pub const GAP_NS: u64 = 1_000_000_000;

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing says that it arrived.
    Lost,
    /// The other capture missed it.
    NotCaptured,
}

/// The point that each address's segments pass first, as far as known.
pub type Nearest = HashMap<[u8; 16], Point>;

/// Weighs the evidence about segments that stayed alone.
#[derive(Debug)]
pub struct Evidence<'a> {
    alone: &'a [Alone],
    fates: Vec<Fate>,
    /// By tuple, those that may yet be acknowledged.
    open: HashMap<(Endpoint, Endpoint), VecDeque<usize>>,
}

impl<'a> Evidence<'a> {
    /// Of segments in order of time.
    #[must_use]
    pub fn new(alone: &'a [Alone], nearest: &Nearest) -> Self {
        let mut open: HashMap<_, VecDeque<usize>> = HashMap::new();
        let mut fates = vec![Fate::Lost; alone.len()];
        for (n, one) in alone.iter().enumerate() {
            let passed =
                nearest.get(&one.segment.src.addr).is_some_and(|near| *near != one.seen_at);
            if passed {
                fates[n] = Fate::NotCaptured;
            } else if one.segment.sequence_len() > 0 {
                open.entry(one.segment.tuple()).or_default().push_back(n);
            }
        }
        Self { alone, fates, open }
    }

    /// Takes the next segment of either capture, in order of the first's clock.
    pub fn take(&mut self, segment: &Segment, at_ns: u64) {
        let Some(open) = self.open.get_mut(&segment.tuple()) else { return };
        let is_over = |n: &usize| self.alone[*n].at_ns + ACKNOWLEDGED_NS < at_ns;
        while open.front().is_some_and(is_over) {
            open.pop_front();
        }
        open.retain(|n| {
            let one = &self.alone[*n];
            if one.at_ns >= at_ns {
                return true;
            }
            if segment.src == one.segment.src {
                // Sent again: an acknowledgment says nothing about the first any more.
                return segment.seq != one.segment.seq
                    || segment.sequence_len() == 0
                    || at_ns <= one.at_ns + COPY_NS;
            }
            let end = one.segment.seq.wrapping_add(one.segment.sequence_len());
            let acknowledged = segment.flags & 0x10 != 0 && segment.ack.wrapping_sub(end) < 1 << 30;
            if acknowledged {
                self.fates[*n] = Fate::NotCaptured;
            }
            !acknowledged
        });
    }

    /// What became of each.
    #[must_use]
    pub fn fates(mut self) -> Vec<Fate> {
        let mut gaps: HashMap<_, Vec<u64>> = HashMap::new();
        for (one, fate) in self.alone.iter().zip(&self.fates) {
            if *fate == Fate::NotCaptured {
                gaps.entry(one.segment.tuple()).or_default().push(one.at_ns);
            }
        }
        for (one, fate) in self.alone.iter().zip(&mut self.fates) {
            let Some(times) = gaps.get(&one.segment.tuple()) else { continue };
            let next = times.partition_point(|at_ns| at_ns + GAP_NS < one.at_ns);
            let in_gap = times.get(next).is_some_and(|at_ns| *at_ns <= one.at_ns + GAP_NS);
            if in_gap && one.segment.sequence_len() == 0 {
                *fate = Fate::NotCaptured;
            }
        }
        self.fates
    }
}
