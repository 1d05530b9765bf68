//! Live time: the program's monotonic times become UTC by an offset that is fixed at start, so that
//! the detector's time never steps; how far UTC has moved since is told to the reporter only.

use super::sys;

/// The offset between CLOCK_MONOTONIC and UTC.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    offset_ns: u64,
}

impl Clock {
    /// Reads both clocks.
    #[must_use]
    pub fn start() -> Self {
        Self { offset_ns: offset_ns() }
    }

    /// Goes on with the scale of an earlier run of this boot.
    #[must_use]
    pub fn resume(offset_ns: u64) -> Self {
        Self { offset_ns }
    }

    /// What is added to monotonic time, nanoseconds.
    #[must_use]
    pub fn offset_ns(&self) -> u64 {
        self.offset_ns
    }

    /// A monotonic time on the detector's scale.
    #[inline]
    #[must_use]
    pub fn at_ns(&self, monotonic_ns: u64) -> u64 {
        self.offset_ns.saturating_add(monotonic_ns)
    }

    /// Now, on the detector's scale.
    #[inline]
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.at_ns(sys::monotonic_ns())
    }

    /// What is to be added to the detector's times to get today's idea of UTC.
    #[must_use]
    pub fn drift_ns(&self) -> i64 {
        i64::try_from(i128::from(offset_ns()) - i128::from(self.offset_ns)).unwrap_or(0)
    }
}

/// UTC less monotonic time, from the tightest of several readings: one may be interrupted.
fn offset_ns() -> u64 {
    let readings = (0..5).map(|_| {
        let before = sys::monotonic_ns();
        let utc = sys::realtime_ns();
        let after = sys::monotonic_ns();
        (after - before, utc.saturating_sub(before / 2 + after / 2))
    });
    readings.min().map_or(0, |(_, offset)| offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_nobody_steps_hardly_drifts() {
        let clock = Clock::start();
        assert!(clock.drift_ns().abs() < 50_000_000, "{} ns", clock.drift_ns());
        let utc = sys::realtime_ns();
        assert!(clock.now_ns().abs_diff(utc) < 50_000_000);
    }
}
