//! How live capture fares: what was lost where, lately, and how long alerts take.

use crate::stats::{DetectorStats, Live};

macro_rules! lost {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// Losses by place, in the order in which a frame meets them.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Lost {
            $($(#[$doc])+ pub $name: u64,)+
        }

        impl Lost {
            /// Name and value of each, in the order printed.
            pub fn each(&self, mut f: impl FnMut(&'static str, u64)) {
                $(f(stringify!($name), self.$name);)+
            }

            /// What came on top of an earlier count.
            #[must_use]
            pub fn since(&self, earlier: &Self) -> Self {
                Self { $($name: self.$name.saturating_sub(earlier.$name),)+ }
            }
        }
    };
}

lost! {
    /// Frames lost in the interface itself.
    nic,
    /// Frames that the XDP program wanted and could not hand over, or not whole.
    xdp,
    /// Frames lost between program and user space.
    ring,
    /// Records lost between workers.
    handoff,
    /// Tuples and contests that found no place in a table.
    table,
    /// Outputs lost between workers and aggregator.
    aggregator,
    /// Findings lost between aggregator and reporter.
    reporter,
}

impl Lost {
    /// The places' own counters.
    #[must_use]
    pub fn of(live: &Live, detector: &DetectorStats) -> Self {
        Self {
            nic: live.nic_lost,
            xdp: live.not_handed_over + live.bad_heads,
            ring: live.rx_ring_full + live.rx_dropped + live.redirect_errors,
            handoff: live.handoff_lost,
            table: detector.counters.table_refused + detector.counters.contests_full,
            aggregator: live.aggregator_lost,
            reporter: live.reporter_lost,
        }
    }

    /// All places together.
    #[must_use]
    pub fn total(&self) -> u64 {
        let mut total = 0;
        self.each(|_, lost| total += lost);
        total
    }

    /// What was wanted and seen, and did not become part of the detector's state.
    #[must_use]
    pub fn before_the_detector(&self) -> u64 {
        self.xdp + self.ring + self.handoff + self.table
    }
}

/// Losses of the last seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LossWindow {
    /// How much time it covers, milliseconds.
    pub window_ms: u64,
    /// Frames the XDP program saw in it.
    pub seen: u64,
    /// Lost in it, by place.
    pub lost: Lost,
    /// Everything lost, of everything that came, in millionths.
    pub rate_ppm: u64,
    /// Of the frames that the rules need, the share that they did not get, in millionths.
    pub evidence_ppm: u64,
}

impl LossWindow {
    /// Name and value of each, in the order printed.
    pub fn each(&self, f: &mut impl FnMut(&'static str, u64)) {
        f("window_ms", self.window_ms);
        f("seen", self.seen);
        self.lost.each(&mut *f);
        f("rate_ppm", self.rate_ppm);
        f("evidence_ppm", self.evidence_ppm);
    }
}

/// Times from the packet that caused an alert to its line's leaving the process, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Alerts measured.
    pub alerts: u64,
    /// Half of them took at most this.
    pub p50_us: u64,
    /// 99 of 100 took at most this.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

impl Latency {
    /// Name and value of each, in the order printed.
    pub fn each(&self, f: &mut impl FnMut(&'static str, u64)) {
        f("alerts", self.alerts);
        f("p50_us", self.p50_us);
        f("p99_us", self.p99_us);
        f("max_us", self.max_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_of_loss_has_a_place() {
        let live = Live {
            nic_lost: 1,
            not_handed_over: 2,
            bad_heads: 4,
            rx_ring_full: 8,
            rx_dropped: 16,
            redirect_errors: 32,
            handoff_lost: 64,
            aggregator_lost: 512,
            reporter_lost: 1024,
            ..Live::default()
        };
        let mut detector = DetectorStats::default();
        detector.counters.table_refused = 128;
        detector.counters.contests_full = 256;
        let lost = Lost::of(&live, &detector);
        assert_eq!(lost.total(), 2047);
        assert_eq!(lost.before_the_detector(), 2047 - 1 - 512 - 1024);
        assert_eq!(lost.since(&lost), Lost::default());
    }
}
