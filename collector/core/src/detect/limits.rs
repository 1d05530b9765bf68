//! The thresholds of the rules: what counts as too long or too many. Each has its default here.

use alloc::vec::Vec;

use crate::flow::SECOND_US;
use crate::prefix::Prefix;

/// Thresholds; README's table of rules names them with their flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `connect_stalled`: as many stalls of one service within a minute make severity 2.
    pub stalls_per_minute: usize,
    /// How long an alert waits for another rule to explain what it saw, microseconds.
    pub explain_us: u64,
    /// `port_pressure`: from this share of the range on, percent, severity is 2.
    pub ports_high: u32,
    /// `port_pressure`: severity is 2 also if no port will be left within this time, microseconds.
    pub ports_soon_us: u64,
    /// `port_pressure`: port ranges of sources, both ends included; the first that fits counts.
    pub port_ranges: Vec<(Prefix, (u16, u16))>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            stalls_per_minute: 3,
            explain_us: SECOND_US / 50,
            ports_high: 80,
            ports_soon_us: 60 * SECOND_US,
            port_ranges: Vec::new(),
        }
    }
}
