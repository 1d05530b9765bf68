//! Segments that occur once in each of two captures: a sample of bounded size, spread over all of both.

use std::collections::HashMap;

use super::lost::COPY_NS;
use super::offset::Sighting;
use super::points::Sight;
use super::segment::Segment;

/// Segments of a capture kept at most.
const KEPT_MAX: usize = 1 << 18;

/// A share of one capture's segments, chosen by their hash, so that it is the same segments in both.
#[derive(Debug, Default)]
pub struct Sample {
    /// When it was seen; `None` if it was seen again, and so is no mark in time.
    seen: HashMap<Segment, Option<u64>>,
    /// Hashes with this many low bits zero are kept.
    bits: u32,
    /// Segments looked at.
    pub segments: u64,
    /// Times of the first and last one.
    pub span_ns: Option<(u64, u64)>,
}

impl Sample {
    /// Takes the next segment.
    pub fn add(&mut self, sight: &Sight, through_nat: bool) {
        let Sight { at_ns, mut segment } = *sight;
        self.segments += 1;
        let (first_ns, _) = self.span_ns.unwrap_or((at_ns, at_ns));
        self.span_ns = Some((first_ns, at_ns));
        if through_nat {
            segment = segment.without_addresses();
        }
        if !self.is_chosen(&segment) {
            return;
        }
        let seen = self.seen.entry(segment).or_insert(Some(at_ns));
        *seen = seen.filter(|first_ns| at_ns <= first_ns + COPY_NS);
        if self.seen.len() > KEPT_MAX {
            self.bits += 1;
            let bits = self.bits;
            self.seen.retain(|segment, _| segment.hash().trailing_zeros() >= bits);
        }
    }

    fn is_chosen(&self, segment: &Segment) -> bool {
        self.bits == 0 || segment.hash().trailing_zeros() >= self.bits
    }

    /// The segments that both saw once, in order of this one's time.
    #[must_use]
    pub fn common(&self, other: &Self) -> Vec<(Segment, Sighting)> {
        let mut common: Vec<_> = self
            .seen
            .iter()
            .filter_map(|(segment, here)| {
                let (here, there) = ((*here)?, other.seen.get(segment).copied().flatten()?);
                let diff_ns = there.cast_signed().wrapping_sub(here.cast_signed());
                let from_client = segment.is_from_client();
                Some((*segment, Sighting { at_ns: here, diff_ns, from_client }))
            })
            .collect();
        common.sort_by_key(|(segment, sighting)| (sighting.at_ns, *segment));
        common
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xdpwatch_prog::record::Record;

    fn sight(n: u32, at_ns: u64) -> Sight {
        let record =
            Record { seq: n, src_port: 40_000, dst_port: 80, flags: 16, ..Record::default() };
        Sight { at_ns, segment: Segment::of(&record) }
    }

    #[test]
    fn it_is_bounded_and_still_finds_the_same_segments() {
        let (mut here, mut there) = (Sample::default(), Sample::default());
        for n in 0..(3 * KEPT_MAX as u32) {
            here.add(&sight(n, u64::from(n)), false);
            if n % 2 == 0 {
                there.add(&sight(n, u64::from(n) + 500), false);
            }
        }
        assert!(here.seen.len() <= KEPT_MAX && there.seen.len() <= KEPT_MAX);
        let common = here.common(&there);
        assert!(common.len() > 10_000, "{}", common.len());
        assert!(common.iter().all(|(_, sighting)| sighting.diff_ns == 500));
    }

    #[test]
    fn a_segment_sent_twice_is_no_mark_in_time() {
        let (mut here, mut there) = (Sample::default(), Sample::default());
        [(1, 7), (2, 7), (1, 7 + 2 * COPY_NS), (2, 8)]
            .iter()
            .for_each(|(n, at_ns)| here.add(&sight(*n, *at_ns), false));
        [1, 2].iter().for_each(|n| there.add(&sight(*n, 9), false));
        assert_eq!(here.common(&there).len(), 1);
    }
}
