//! The detector's time scale across runs. Within one boot of the machine the next run goes on with the
//! same scale, so that every time in it, and every id made of one, stays what it was; after another boot
//! times are moved by UTC.

use std::fs;

/// Monotonic time and UTC as a run has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Which boot of the machine the monotonic time counts from; empty where the kernel does not say.
    pub boot: String,
    /// What is added to monotonic time, nanoseconds.
    pub offset_ns: u64,
    /// What is to be added to the scale's times to get UTC as it is known by now, nanoseconds.
    pub drift_ns: i64,
}

impl Scale {
    /// Whether this boot is that scale's, so that it can go on.
    #[must_use]
    pub fn is_of_this_boot(&self) -> bool {
        !self.boot.is_empty() && self.boot == boot()
    }
}

/// The kernel's name for this boot.
#[must_use]
pub fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}
