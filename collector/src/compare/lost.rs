//! Segments that one point saw and the other did not: both captures in order of one clock, each segment
//! waiting a fifth of a second for its twin.

use std::collections::{HashMap, HashSet, VecDeque};

use super::segment::Segment;

/// How long a segment waits for its twin, nanoseconds: shorter than the least retransmission time-out.
pub const WAIT_NS: u64 = 200_000_000;

/// The same segment again this soon is the capture's own copy of it.
pub const COPY_NS: u64 = 10_000_000;

/// Segments that wait at most.
const WAITING_MAX: usize = 1 << 18;

/// Unmatched segments kept; more are counted.
pub const KEPT_MAX: usize = 1 << 16;

/// Which of the two captures.
pub type Point = usize;

/// A segment that only one point saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alone {
    /// When, on the first capture's clock, nanoseconds.
    pub at_ns: u64,
    /// By whom it was seen.
    pub seen_at: Point,
    /// The segment.
    pub segment: Segment,
}

impl Alone {
    /// Whether it is nothing but data.
    #[must_use]
    pub fn is_data(&self) -> bool {
        self.segment.kind() == "data"
    }
}

/// What matching counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Segments that both saw.
    pub matched: u64,
    /// Copies of segments within one capture.
    pub copies: u64,
    /// Segments outside of the time that both captures cover.
    pub outside: u64,
    /// Segments between addresses of which the other capture has nothing.
    pub elsewhere: u64,
    /// Segments that could not wait, because all places were taken.
    pub not_compared: u64,
    /// Unmatched segments beyond those that are kept.
    pub not_kept: u64,
    /// Data segments matched, and not.
    pub data: [u64; 2],
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    at_ns: u64,
    point: Point,
    matched: bool,
}

/// Matches two captures.
#[derive(Debug)]
pub struct Matcher {
    /// Pairs of addresses of which both saw something.
    pub common: HashSet<([u8; 16], [u8; 16])>,
    /// What each capture covers, on the first's clock.
    pub spans: [(u64, u64); 2],
    /// When places were wanting last.
    full_ns: Option<(u64, u64)>,
    waiting: HashMap<Segment, VecDeque<Waiting>>,
    order: VecDeque<(u64, Segment)>,
    /// Segments that stayed alone, in order of time.
    pub alone: Vec<Alone>,
    /// Counted so far.
    pub counts: Counts,
}

impl Matcher {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(common: HashSet<([u8; 16], [u8; 16])>, spans: [(u64, u64); 2]) -> Self {
        let (waiting, order) = (HashMap::new(), VecDeque::new());
        let (alone, counts) = (Vec::new(), Counts::default());
        Self { common, spans, full_ns: None, waiting, order, alone, counts }
    }

    /// Takes the next segment in order of the first capture's clock.
    pub fn take(&mut self, point: Point, segment: Segment, at_ns: u64) {
        self.expire(at_ns.saturating_sub(WAIT_NS));
        if !self.common.contains(&segment.addresses()) {
            self.counts.elsewhere += 1;
            return;
        }
        let waiting = self.waiting.entry(segment).or_default();
        let is_copy =
            waiting.iter().any(|seen| seen.point == point && at_ns <= seen.at_ns + COPY_NS);
        if is_copy {
            self.counts.copies += 1;
            return;
        }
        let twin = waiting.iter_mut().find(|seen| seen.point != point && !seen.matched);
        let matched = twin.is_some();
        if let Some(twin) = twin {
            twin.matched = true;
            self.counts.matched += 1;
            self.counts.data[0] += u64::from(segment.payload_len > 0);
        }
        if self.order.len() >= WAITING_MAX {
            self.counts.not_compared += u64::from(!matched);
            self.was_full(at_ns);
            return;
        }
        waiting.push_back(Waiting { at_ns, point, matched });
        self.order.push_back((at_ns, segment));
    }

    /// Nothing seen before `at_ns` is to come any more.
    #[cfg(feature = "xdp")]
    pub fn pass_time(&mut self, at_ns: u64) {
        self.expire(at_ns.saturating_sub(WAIT_NS));
    }

    /// Both captures are over.
    pub fn finish(&mut self) {
        self.expire(u64::MAX);
    }

    /// Those seen before `until_ns` wait no longer.
    fn expire(&mut self, until_ns: u64) {
        while let Some((at_ns, segment)) = self.order.front().copied() {
            if at_ns >= until_ns {
                return;
            }
            self.order.pop_front();
            let Some(waiting) = self.waiting.get_mut(&segment) else { continue };
            let seen = waiting.pop_front();
            if waiting.is_empty() {
                self.waiting.remove(&segment);
            }
            if let Some(Waiting { at_ns, point, matched: false }) = seen {
                self.stayed_alone(Alone { at_ns, seen_at: point, segment });
            }
        }
    }

    fn was_full(&mut self, at_ns: u64) {
        let from_ns = match self.full_ns {
            Some((from_ns, until_ns)) if at_ns <= until_ns.saturating_add(2 * WAIT_NS) => from_ns,
            _ => at_ns,
        };
        self.full_ns = Some((from_ns, at_ns));
    }

    fn stayed_alone(&mut self, alone: Alone) {
        // Its twin may have been one that found no place.
        let is_near = |(from_ns, until_ns): (u64, u64)| {
            from_ns <= alone.at_ns.saturating_add(WAIT_NS)
                && alone.at_ns <= until_ns.saturating_add(WAIT_NS)
        };
        if self.full_ns.is_some_and(is_near) {
            self.counts.not_compared += 1;
            return;
        }
        let (first_ns, last_ns) = self.spans[1 - alone.seen_at];
        // A capture goes on for some time after the last packet that it got.
        if alone.at_ns < first_ns || alone.at_ns > last_ns.saturating_add(1_000_000) {
            self.counts.outside += 1;
            return;
        }
        self.counts.data[1] += u64::from(alone.segment.payload_len > 0);
        if self.alone.len() >= KEPT_MAX {
            self.counts.not_kept += 1;
        } else {
            self.alone.push(alone);
        }
    }
}
