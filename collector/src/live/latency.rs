//! How long an alert takes: from the packet that caused it to its line's leaving the process.

use hdrhistogram::Histogram;

use crate::health::Latency;

/// Longer than this counts as this: a reporter that hangs.
const LONGEST_US: u64 = 600_000_000;

/// A histogram of fixed size, two digits precise.
#[derive(Clone, Debug)]
pub struct Latencies {
    us: Option<Histogram<u64>>,
}

impl Default for Latencies {
    fn default() -> Self {
        // The bounds are good ones, so there is always a histogram.
        Self { us: Histogram::new_with_bounds(1, LONGEST_US, 2).ok() }
    }
}

impl Latencies {
    /// Counts one alert.
    pub fn record(&mut self, ns: u64) {
        if let Some(us) = &mut self.us {
            us.saturating_record(ns / 1000);
        }
    }

    /// The histogram in a few numbers.
    #[must_use]
    pub fn summary(&self) -> Latency {
        let Some(us) = &self.us else { return Latency::default() };
        Latency {
            alerts: us.len(),
            p50_us: us.value_at_quantile(0.5),
            p99_us: us.value_at_quantile(0.99),
            max_us: us.max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_two_digits() {
        let mut latencies = Latencies::default();
        for us in 1..=1000 {
            latencies.record(us * 1000);
        }
        let Latency { alerts, p50_us, p99_us, max_us } = latencies.summary();
        assert_eq!(alerts, 1000);
        assert!(p50_us.abs_diff(500) <= 5, "{p50_us}");
        assert!(p99_us.abs_diff(990) <= 10, "{p99_us}");
        assert!(max_us.abs_diff(1000) <= 10, "{max_us}");
        latencies.record(u64::MAX);
        assert_eq!(latencies.summary().alerts, 1001, "hours are counted too");
    }

    #[test]
    fn nothing_recorded_is_all_zero() {
        assert_eq!(Latencies::default().summary(), Latency::default());
    }
}
