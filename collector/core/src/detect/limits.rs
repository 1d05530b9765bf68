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
    /// `listener_gap`: a port that refuses for longer before it takes connections was not there yet,
    /// microseconds.
    pub listener_gap_us: u64,
    /// `listener_gap`: a listener lives for this long after it took a connection, microseconds.
    pub listener_alive_us: u64,
    /// `listener_gap`: resolved after so long without a refusal once it takes connections again,
    /// microseconds.
    pub listener_quiet_us: u64,
    /// `half_closed`: longer than this is too long, microseconds. The default is Linux's
    /// `tcp_fin_timeout`: a closer whose process has gone is gone by then too.
    pub half_closed_us: u64,
    /// `half_closed`: as many of one service make severity 2.
    pub half_closed_many: u32,
    /// `fin_unacknowledged`: a FIN repeated as often is reported.
    pub fin_retransmissions: u32,
    /// `churn`: from as many closes per second on a service is looked at. A page of fifty files over
    /// as many connections within ten seconds is 5.
    pub churn_per_s: u64,
    /// `churn`: connections are short if their median life is at most this, microseconds.
    pub churn_life_us: u64,
    /// `churn`: a tuple comes back fast if it does so within this after it closed, microseconds. The
    /// default is half as long again as TIME_WAIT: a client that has run out of ports takes each
    /// as soon as it is free.
    pub churn_reuse_us: u64,
    /// `churn`: as many of a hundred new connections must come on such tuples.
    pub churn_reused_percent: u64,
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
            listener_gap_us: 10 * SECOND_US,
            listener_alive_us: 60 * SECOND_US,
            listener_quiet_us: 5 * SECOND_US,
            half_closed_us: 60 * SECOND_US,
            half_closed_many: 10,
            fin_retransmissions: 3,
            churn_per_s: 5,
            churn_life_us: SECOND_US,
            churn_reuse_us: 90 * SECOND_US,
            churn_reused_percent: 25,
            ports_high: 80,
            ports_soon_us: 60 * SECOND_US,
            port_ranges: Vec::new(),
        }
    }
}
