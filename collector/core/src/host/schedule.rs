//! How a client repeats a SYN that nobody answers: a schedule that its system's era and family share.
//!
//! Linux before 6.5, and Windows since it waits 1 s: 1, 3, 7, 15, 31 s, and Windows gives up after 4.
//! Linux since 6.5 (`tcp_syn_linear_timeouts`), as BSDs (`tcp_syn_backoff`): 1, 2, 3, 4, 5, 7, 11 s.
//! Linux before 3.1 and older Windows: 3, 9, 21 s, and Windows gives up after 2.

use arrayvec::ArrayVec;

use crate::finding::Fact;

/// Gaps remembered: the longest schedule that tells its kind by then.
const GAPS: usize = 8;

/// How the time between two SYNs grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// 1 s doubled each time.
    DoublingFrom1s,
    /// 3 s doubled each time.
    DoublingFrom3s,
    /// 1 s five times, then doubled.
    LinearThenDoubling,
}

impl Schedule {
    /// Every schedule.
    const ALL: [Self; 3] = [Self::DoublingFrom1s, Self::DoublingFrom3s, Self::LinearThenDoubling];

    /// The contract's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::DoublingFrom1s => "doubling_from_1s",
            Self::DoublingFrom3s => "doubling_from_3s",
            Self::LinearThenDoubling => "linear_then_doubling",
        }
    }

    /// The gap before repetition `n` (from 0), milliseconds.
    fn gap_ms(self, n: usize) -> u64 {
        match self {
            Self::DoublingFrom1s => 1000 << n,
            Self::DoublingFrom3s => 3000 << n,
            Self::LinearThenDoubling => 1000 << n.saturating_sub(4),
        }
    }
}

/// The schedule that these gaps between SYNs follow, the first one first; timers are late by up to a
/// tenth, or early by as much where a jitter is added. `None` for fewer than two, or none that fits.
#[must_use]
pub fn recognise(gaps_ms: &[u32]) -> Option<Schedule> {
    if gaps_ms.len() < 2 {
        return None;
    }
    Schedule::ALL.into_iter().find(|schedule| {
        gaps_ms.iter().enumerate().all(|(n, gap_ms)| {
            let expected_ms = schedule.gap_ms(n);
            u64::from(*gap_ms).abs_diff(expected_ms) <= expected_ms / 10 + 20
        })
    })
}

/// The gaps between the SYNs of one attempt.
#[derive(Clone, Debug, Default)]
pub struct Gaps {
    ms: ArrayVec<u32, GAPS>,
}

impl Gaps {
    /// The SYN came again after this time, microseconds; later ones than are remembered tell nothing new.
    pub fn note(&mut self, gap_us: u64) {
        let _ = self.ms.try_push(u32::try_from(gap_us / 1000).unwrap_or(u32::MAX));
    }

    /// The schedule as a fact.
    #[must_use]
    pub fn fact(&self) -> Fact {
        recognise(&self.ms).map_or(Fact::Unknown, |schedule| Fact::Word(schedule.word()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times of SYNs, as measured or documented, to the schedule they follow.
    #[test]
    fn measured_schedules_are_recognised() {
        let gaps = |times_ms: &[u32]| -> ArrayVec<u32, 16> {
            times_ms.windows(2).map(|pair| pair[1] - pair[0]).collect()
        };
        let of = |times_ms: &[u32]| recognise(&gaps(times_ms)[..]);
        let linear = Some(Schedule::LinearThenDoubling);
        assert_eq!(of(&[0, 1000, 3000, 7100, 15_300, 31_400]), Some(Schedule::DoublingFrom1s));
        assert_eq!(of(&[0, 1015, 2039, 3063, 4087, 5111, 7159, 11_200]), linear);
        assert_eq!(of(&[0, 1024, 2048]), linear, "three SYNs are enough");
        assert_eq!(of(&[0, 1011, 3024, 7031, 15_030]), Some(Schedule::DoublingFrom1s));
        assert_eq!(of(&[0, 3003, 9012]), Some(Schedule::DoublingFrom3s));
    }

    #[test]
    fn what_fits_none_is_not_named() {
        for gaps_ms in [
            &[][..],
            &[1000],
            &[500, 1000],
            &[16, 1984],
            // One SYN was not seen.
            &[1000, 6000],
            &[1000, 1000, 4000],
            // No schedule begins the one way and goes on the other.
            &[1000, 2000, 2000],
        ] {
            assert_eq!(recognise(gaps_ms), None, "{gaps_ms:?}");
        }
    }

    #[test]
    fn a_long_attempt_keeps_its_schedule() {
        let mut gaps = Gaps::default();
        assert_eq!(gaps.fact(), Fact::Unknown);
        for n in 0..40u32 {
            gaps.note(1_000_000 << n.min(20));
        }
        assert_eq!(gaps.fact(), Fact::Word("doubling_from_1s"));
    }
}
