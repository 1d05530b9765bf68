//! Losses of the last ten seconds, by place: what cumulative counters hide, and what makes findings
//! less sure while it lasts.

use std::collections::VecDeque;
use std::time::Duration;

use crate::health::{LossWindow, Lost};

/// How far back the window reaches.
const WINDOW: Duration = Duration::from_secs(10);

/// How often it is fed.
pub const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);

/// Cumulative counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Frames the XDP program saw.
    pub seen: u64,
    /// Frames it wanted: selected, or lost on the way to that.
    pub wanted: u64,
    /// Lost, by place.
    pub lost: Lost,
    /// Not lost, but observed out of order: findings may rest on it as little.
    pub late: u64,
}

/// The samples of the window; of fixed size.
#[derive(Clone, Debug)]
pub struct Losses {
    samples: VecDeque<(Duration, Sample)>,
}

impl Default for Losses {
    fn default() -> Self {
        // Before the first sample nothing was counted.
        let mut samples = VecDeque::with_capacity(64);
        samples.push_back((Duration::ZERO, Sample::default()));
        Self { samples }
    }
}

impl Losses {
    /// Takes the counts at `now`, a time since the start that never goes back.
    pub fn sample(&mut self, now: Duration, sample: Sample) {
        self.samples.push_back((now, sample));
        // The oldest that is kept is the last one outside the window: it is what to compare with.
        while self.samples.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) >= WINDOW) {
            self.samples.pop_front();
        }
    }

    /// The newest counts.
    #[must_use]
    pub fn latest(&self) -> Sample {
        self.samples.back().map_or_else(Sample::default, |(_, sample)| *sample)
    }

    /// What was lost between the oldest and the newest sample.
    #[must_use]
    pub fn window(&self) -> LossWindow {
        let (Some((from, old)), Some((to, new))) = (self.samples.front(), self.samples.back())
        else {
            return LossWindow::default();
        };
        let lost = new.lost.since(&old.lost);
        let seen = new.seen.saturating_sub(old.seen);
        let wanted = new.wanted.saturating_sub(old.wanted);
        let nic_ppm = ppm(lost.nic, seen + lost.nic);
        // The NIC loses frames of every kind alike; later places lose only wanted ones.
        let late = new.late.saturating_sub(old.late);
        let later_ppm = ppm(lost.before_the_detector() + late, wanted);
        let spared = (1_000_000 - nic_ppm) * (1_000_000 - later_ppm) / 1_000_000;
        LossWindow {
            window_ms: u64::try_from(to.saturating_sub(*from).as_millis()).unwrap_or(u64::MAX),
            seen,
            lost,
            rate_ppm: ppm(lost.total(), seen + lost.nic),
            evidence_ppm: 1_000_000 - spared,
        }
    }
}

fn ppm(part: u64, whole: u64) -> u64 {
    let share = u128::from(part) * 1_000_000 / u128::from(whole.max(1));
    u64::try_from(share).unwrap_or(u64::MAX).min(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, seen: u64, wanted: u64, nic: u64, ring: u64) -> (Duration, Sample) {
        let lost = Lost { nic, ring, ..Lost::default() };
        (Duration::from_secs(seconds), Sample { seen, wanted, lost, late: 0 })
    }

    #[test]
    fn a_loss_is_told_for_ten_seconds_and_then_over() {
        let mut losses = Losses::default();
        for (now, sample) in [at(1, 1000, 100, 0, 0), at(2, 2000, 200, 0, 50)] {
            losses.sample(now, sample);
        }
        let window = losses.window();
        assert_eq!((window.seen, window.lost.ring), (2000, 50));
        assert_eq!(window.rate_ppm, 25_000, "50 of the 2000 seen");
        assert_eq!(window.evidence_ppm, 250_000, "50 of the 200 wanted");
        for second in 3..=13 {
            let (now, sample) = at(second, second * 1000, second * 100, 0, 50);
            losses.sample(now, sample);
        }
        let window = losses.window();
        assert_eq!((window.lost.ring, window.evidence_ppm), (0, 0));
        assert!(window.window_ms >= 10_000 && window.window_ms <= 11_000, "{}", window.window_ms);
    }

    #[test]
    fn what_the_nic_loses_was_never_seen() {
        let mut losses = Losses::default();
        let (now, sample) = at(1, 900, 90, 100, 0);
        losses.sample(now, sample);
        let window = losses.window();
        assert_eq!((window.rate_ppm, window.evidence_ppm), (100_000, 100_000));
    }

    #[test]
    fn both_kinds_of_loss_add_up_to_no_more_than_all() {
        let mut losses = Losses::default();
        let (now, sample) = at(1, 100, 10, 100, 10);
        losses.sample(now, sample);
        assert_eq!(losses.window().evidence_ppm, 1_000_000);
    }

    #[test]
    fn hours_of_samples_keep_the_window_small() {
        let mut losses = Losses::default();
        for n in 0..20_000 {
            losses.sample(SAMPLE_INTERVAL * n, Sample::default());
        }
        assert!(losses.samples.len() <= 42, "{}", losses.samples.len());
    }
}
