//! Choices of grouping: when a group is told of, and what its source pool is.

use super::pool::Prefixes;

/// Choices of grouping.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Two updates of a group are at least this far apart, nanoseconds.
    pub interval_ns: u64,
    /// A group that got worse is told of this long after, so that what comes with it is in it.
    pub worse_ns: u64,
    /// A group is resolved when for this long after its last finding's end nothing came.
    pub quiet_ns: u64,
    /// A group is resolved when for this long nothing was heard of what still fires.
    pub stale_ns: u64,
    /// What a source pool is.
    pub prefixes: Prefixes,
}

impl Default for Config {
    fn default() -> Self {
        let second_ns = 1_000_000_000;
        Self {
            interval_ns: 60 * second_ns,
            worse_ns: second_ns,
            quiet_ns: 120 * second_ns,
            stale_ns: 24 * 3600 * second_ns,
            prefixes: Prefixes::default(),
        }
    }
}
