//! The thresholds of the rules: what counts as too long or too many. Each has its default here.

use crate::flow::SECOND_US;

/// Thresholds; README's table of rules names them with their flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `connect_stalled`: as many stalls of one service within a minute make severity 2.
    pub stalls_per_minute: usize,
    /// How long an alert waits for another rule to explain what it saw, microseconds.
    pub explain_us: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { stalls_per_minute: 3, explain_us: SECOND_US / 50 }
    }
}
