//! What one capture's clock is against the other's: offset and drift from the segments both saw, by
//! medians, so that a few wrong ones do nothing. What the path takes falls out where both directions
//! were seen, if it takes the same both ways.

/// Segments in common from which a drift is told.
const DRIFT_SEGMENTS: usize = 64;

/// Time they must span, nanoseconds.
const DRIFT_SPAN_NS: u64 = 10_000_000_000;

/// Parts of the capture whose medians a drift is drawn through.
const PARTS: usize = 32;

/// One segment as both saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// When, by the first capture's clock, nanoseconds.
    pub at_ns: u64,
    /// The second's time less the first's.
    pub diff_ns: i64,
    /// Whether the client sent it.
    pub from_client: bool,
}

/// The second capture's clock against the first's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clock {
    /// The second's time less the first's at `reference_ns`.
    pub offset_ns: i64,
    /// Where on the first's clock that is.
    pub reference_ns: u64,
    /// What the second gains, in 10^-9 of the time; `None` if too little was seen to tell.
    pub drift_ppb: Option<f64>,
    /// What the path between the points takes one way; `None` if one direction alone was seen: then
    /// it is part of the offset.
    pub path_ns: Option<u64>,
    /// Half of the differences are within this of the offset.
    pub spread_ns: u64,
}

impl Clock {
    /// From the segments in common, in order of time; `None` if there are none.
    #[must_use]
    pub fn of(sightings: &[Sighting]) -> Option<Self> {
        let reference_ns = sightings.first()?.at_ns;
        let drift_ppb = drift(sightings);
        let gained = |s: &Sighting| drifted(s.at_ns.wrapping_sub(reference_ns), drift_ppb);
        let [there, back] = levels(sightings, gained);
        let (offset_ns, path_ns) = match (there, back) {
            (Some(there), Some(back)) => (there.midpoint(back), Some(there.abs_diff(back) / 2)),
            (one, other) => (one.or(other)?, None),
        };
        let spread_ns = spread(sightings, [there, back], gained);
        Some(Self { offset_ns, reference_ns, drift_ppb, path_ns, spread_ns })
    }

    /// Both points have the same clock: what their times differ by is the path. Also how much later the
    /// second saw what clients sent, and what servers sent.
    #[cfg(feature = "xdp")]
    #[must_use]
    pub fn shared(sightings: &[Sighting]) -> (Self, [Option<i64>; 2]) {
        let later = levels(sightings, |_| 0);
        let ways: Vec<u64> = later.iter().flatten().map(|ns| ns.unsigned_abs()).collect();
        let path_ns = ways.iter().sum::<u64>().checked_div(ways.len() as u64);
        let spread_ns = spread(sightings, later, |_| 0);
        (Self { offset_ns: 0, reference_ns: 0, drift_ppb: None, path_ns, spread_ns }, later)
    }

    /// A time of the second's clock on the first's.
    #[must_use]
    pub fn on_first(&self, at_ns: u64) -> u64 {
        let since = i128::from(at_ns) - i128::from(self.reference_ns) - i128::from(self.offset_ns);
        let since = i64::try_from(since).unwrap_or(0);
        // The drift of the drift is beyond what anybody can measure.
        let gained = (since as f64 * self.drift_ppb.unwrap_or(0.0) / 1e9) as i64;
        self.reference_ns.saturating_add_signed(since - gained)
    }

    /// The second's time less the first's for a segment that took no time between them.
    #[must_use]
    pub fn expected_ns(&self, at_ns: u64) -> i64 {
        self.offset_ns + drifted(at_ns.wrapping_sub(self.reference_ns), self.drift_ppb)
    }
}

/// The median of the differences, of what clients sent and of what servers sent.
fn levels(sightings: &[Sighting], gained: impl Fn(&Sighting) -> i64) -> [Option<i64>; 2] {
    [true, false].map(|from_client| {
        let of = sightings.iter().filter(|s| s.from_client == from_client);
        median(of.map(|s| s.diff_ns - gained(s)).collect())
    })
}

/// Half of the differences are within this of their median.
fn spread(
    sightings: &[Sighting],
    levels: [Option<i64>; 2],
    gained: impl Fn(&Sighting) -> i64,
) -> u64 {
    let off = sightings.iter().filter_map(|s| {
        let level = levels[usize::from(!s.from_client)]?;
        Some((s.diff_ns - gained(s)).abs_diff(level).cast_signed())
    });
    median(off.collect()).unwrap_or(0).unsigned_abs()
}

fn drifted(since_ns: u64, drift_ppb: Option<f64>) -> i64 {
    drift_ppb.map_or(0, |ppb| (since_ns.cast_signed() as f64 * ppb / 1e9) as i64)
}

/// The median slope between the parts' medians, each direction by itself (Theil-Sen).
fn drift(sightings: &[Sighting]) -> Option<f64> {
    let (first, last) = (sightings.first()?.at_ns, sightings.last()?.at_ns);
    if sightings.len() < DRIFT_SEGMENTS || last.saturating_sub(first) < DRIFT_SPAN_NS {
        return None;
    }
    let mut slopes = Vec::new();
    for from_client in [true, false] {
        let of: Vec<_> = sightings.iter().filter(|s| s.from_client == from_client).collect();
        let points: Vec<(i64, i64)> = of
            .chunks(of.len().div_ceil(PARTS).max(1))
            .filter_map(|part| {
                let at = part[part.len() / 2].at_ns.saturating_sub(first).cast_signed();
                Some((at, median(part.iter().map(|s| s.diff_ns).collect())?))
            })
            .collect();
        for (n, (at, diff)) in points.iter().enumerate() {
            let later = points[n + 1..].iter().filter(|(later, _)| later > at);
            slopes.extend(later.map(|(later, then)| (then - diff) as f64 / (later - at) as f64));
        }
    }
    slopes.sort_by(f64::total_cmp);
    slopes.get(slopes.len() / 2).map(|slope| slope * 1e9)
}

/// Of an even number of values, what lies between the middle two.
fn median(mut values: Vec<i64>) -> Option<i64> {
    let middle = values.len() / 2;
    if values.is_empty() {
        return None;
    }
    let is_even = values.len().is_multiple_of(2);
    let (below, upper, _) = values.select_nth_unstable(middle);
    let lower = below.iter().max().filter(|_| is_even);
    Some(lower.map_or(*upper, |lower| lower.midpoint(*upper)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;
    const START_NS: u64 = 1_700_000_000 * SECOND_NS;

    /// A segment every 10 ms in turn, 5 ms of path, every tenth late by up to 90 ms.
    fn sightings(offset_ns: i64, drift_ppb: i64, count: u64) -> Vec<Sighting> {
        (0..count)
            .map(|n| {
                let since = n * 10_000_000;
                let from_client = n % 2 == 0;
                let path = if from_client { 5_000_000 } else { -5_000_000 };
                let late = if n % 10 == 7 { (n % 91) as i64 * 1_000_000 } else { 0 };
                let drift = (i128::from(since) * i128::from(drift_ppb) / 1_000_000_000) as i64;
                let diff_ns = offset_ns + drift + path - late;
                Sighting { at_ns: START_NS + since, diff_ns, from_client }
            })
            .collect()
    }

    #[test]
    fn offset_drift_and_path_come_out() {
        for (offset_ns, drift_ppb) in [(35_162_400_000, 40_000), (-7, -25_000), (3 << 50, 0)] {
            let clock = Clock::of(&sightings(offset_ns, drift_ppb, 6000)).unwrap();
            assert!(clock.offset_ns.abs_diff(offset_ns) < 100_000, "{clock:?}");
            assert!((clock.drift_ppb.unwrap() - drift_ppb as f64).abs() < 1000.0, "{clock:?}");
            assert!(clock.path_ns.unwrap().abs_diff(5_000_000) < 100_000, "{clock:?}");
            let at_ns = START_NS + 30 * SECOND_NS;
            let there = at_ns.saturating_add_signed(clock.expected_ns(at_ns));
            assert!(clock.on_first(there).abs_diff(at_ns) < 10_000);
        }
    }

    #[test]
    fn one_direction_has_no_path_and_few_segments_no_drift() {
        let mut some = sightings(1_000_000_000, 0, 40);
        assert_eq!(Clock::of(&some).unwrap().drift_ppb, None);
        some.retain(|s| s.from_client);
        let clock = Clock::of(&some).unwrap();
        assert_eq!((clock.path_ns, clock.offset_ns), (None, 1_005_000_000));
        assert_eq!(Clock::of(&[]), None);
    }
}
