//! How many of something began within the last minute, to the second, in fixed memory: what lasts as
//! long as TIME_WAIT is counted without an entry for each.

use crate::flow::SECOND_US;
use crate::host::linux::TIME_WAIT_US;

/// Seconds that count: one more than TIME_WAIT lasts, as its first second is a part of one.
const SECONDS: u64 = TIME_WAIT_US / SECOND_US + 1;

/// Counts by the second in which they began.
#[derive(Clone, Debug)]
pub struct Wheel {
    counts: [u32; SECONDS as usize],
    newest_s: u64,
}

impl Default for Wheel {
    fn default() -> Self {
        Self { counts: [0; SECONDS as usize], newest_s: 0 }
    }
}

impl Wheel {
    /// One begins at `at_us`.
    pub fn add(&mut self, at_us: u64) {
        let second = at_us / SECOND_US;
        for passed in (self.newest_s + 1).max(second.saturating_sub(SECONDS - 1))..=second {
            self.counts[(passed % SECONDS) as usize] = 0;
        }
        self.newest_s = self.newest_s.max(second);
        if self.newest_s - second < SECONDS {
            let count = &mut self.counts[(second % SECONDS) as usize];
            *count = count.saturating_add(1);
        }
    }

    /// One that began at `at_us` is over before its time. None is made of what was never counted.
    pub fn take(&mut self, at_us: u64) {
        let second = at_us / SECOND_US;
        if second <= self.newest_s && self.newest_s - second < SECONDS {
            let count = &mut self.counts[(second % SECONDS) as usize];
            *count = count.saturating_sub(1);
        }
    }

    /// As many are under way at `now_us`; up to a second longer than they last.
    #[must_use]
    pub fn count(&self, now_us: u64) -> u64 {
        self.seconds(now_us).sum()
    }

    /// Whether none is under way at `now_us`. Cheaper than counting: the latest are looked at first.
    #[must_use]
    pub fn is_empty(&self, now_us: u64) -> bool {
        self.seconds(now_us).rev().all(|count| count == 0)
    }

    /// The counts that are not over, oldest first.
    fn seconds(&self, now_us: u64) -> impl DoubleEndedIterator<Item = u64> {
        let oldest_s = (now_us / SECOND_US).saturating_sub(SECONDS - 1);
        let oldest_s = oldest_s.max(self.newest_s.saturating_sub(SECONDS - 1));
        (oldest_s..=self.newest_s).map(|second| u64::from(self.counts[(second % SECONDS) as usize]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_counts_for_its_time_and_no_longer() {
        let mut wheel = Wheel::default();
        let begin = 1_700_000_000_400_000;
        wheel.add(begin);
        wheel.add(begin + 30 * SECOND_US);
        wheel.add(begin + 30 * SECOND_US);
        wheel.take(begin + 30 * SECOND_US);
        wheel.take(begin + 29 * SECOND_US);
        assert_eq!(wheel.count(begin + TIME_WAIT_US - 1), 2);
        assert_eq!(wheel.count(begin + TIME_WAIT_US + SECOND_US), 1);
        assert_eq!(wheel.count(begin + 3600 * SECOND_US), 0);
        wheel.add(begin + 3600 * SECOND_US);
        assert_eq!(wheel.count(begin + 3600 * SECOND_US), 1);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_list(gaps in prop::collection::vec(0u64..8_000, 1..200)) {
            let mut wheel = Wheel::default();
            let (mut now, mut all) = (1_700_000_000_000_000u64, Vec::new());
            for gap in gaps {
                now += gap * 1000;
                wheel.add(now);
                all.push(now);
            }
            let since = (now / SECOND_US - (SECONDS - 1)) * SECOND_US;
            let exact = all.iter().filter(|at| **at >= since).count() as u64;
            prop_assert_eq!(wheel.count(now), exact);
            let later = now + 59 * SECOND_US;
            prop_assert_eq!(wheel.is_empty(later), wheel.count(later) == 0);
        }
    }
}
