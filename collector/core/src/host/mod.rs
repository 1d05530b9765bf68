//! Host models: what a holder's TCP does with a SYN on a tuple that it still holds.
//!
//! One file per TCP, named for it, with its sources; `model` lists them. Which one a host has is said by
//! the configuration, else by what the host was seen to do (`hosts`), else it is Linux. A model never sees
//! the answer.

pub mod a10;
pub mod f5;
pub mod freebsd;
pub mod haproxy;
pub mod linux;
pub mod linux_recycle;
pub mod macos;
mod model;
pub mod openbsd;
pub mod schedule;
pub mod windows;

use alloc::vec::Vec;

use crate::prefix::Prefix;
use crate::seq::{ahead, is_after};

pub use model::Model;

/// The state in which the SYN's destination holds the earlier connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// TIME-WAIT.
    TimeWait,
    /// FIN-WAIT-2.
    FinWait2,
    /// FIN-WAIT-1.
    FinWait1,
    /// ESTABLISHED.
    Established,
    /// CLOSE-WAIT.
    CloseWait,
    /// LAST-ACK.
    LastAck,
    /// SYN-RECEIVED.
    SynReceived,
    /// The earlier connection predates the feed; only the answer tells of it.
    Unknown,
}

impl Holder {
    /// The contract's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::TimeWait => "time_wait",
            Self::FinWait2 => "fin_wait2",
            Self::FinWait1 => "fin_wait1",
            Self::Established => "established",
            Self::CloseWait => "close_wait",
            Self::LastAck => "last_ack",
            Self::SynReceived => "syn_received",
            Self::Unknown => "unknown",
        }
    }
}

/// What a holder's TCP does with the SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Opens the new connection.
    Accept,
    /// Answers the old connection's ACK because the timestamp is old.
    RefusePaws,
    /// Answers the old connection's ACK because the sequence number is not after the old ones.
    RefuseSequence,
    /// Answers a challenge ACK because the connection is in use (RFC 5961, 4.2).
    RefuseInUse,
    /// Answers RST and forgets the old connection: FIN-WAIT-2 with the number inside its window.
    ResetInWindow,
    /// Says nothing: the rate limiter is still armed.
    Silent,
    /// Not enough is known.
    Unknown,
}

impl Verdict {
    /// The contract's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::RefusePaws => "refuse_paws",
            Self::RefuseSequence => "refuse_sequence",
            Self::RefuseInUse => "refuse_in_use",
            Self::ResetInWindow => "reset_in_window",
            Self::Silent => "silent",
            Self::Unknown => "unknown",
        }
    }
}

/// What the holder knows of the earlier connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The state it is in.
    pub state: Holder,
    /// RCV.NXT: the sequence number it expects next.
    pub expected: u32,
    /// TS.Recent, if the old connection carried timestamps.
    pub ts_recent: Option<u32>,
    /// Whether `ts_recent` may be out of date: nothing showed it since the close began.
    pub ts_stale: bool,
    /// How long ago `ts_recent` was set, microseconds.
    pub ts_age_us: u64,
    /// The receive window it last offered, in bytes; `None` where the window shift is unknown.
    pub window: Option<u32>,
    /// Whether it sent an out-of-window ACK within the limiter's time.
    pub limited: bool,
}

/// The numbers of the SYN that decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Initial sequence number.
    pub isn: u32,
    /// TSval, if the SYN carries timestamps.
    pub ts_val: Option<u32>,
}

/// What the sequence rule alone would say: accept only what is after the old numbers.
#[must_use]
pub fn sequence_accepts(held: &Held, attempt: &Attempt) -> bool {
    is_after(attempt.isn, held.expected)
}

impl Held {
    /// New TSval minus TS.Recent, where both are there.
    #[must_use]
    pub fn newer_by(&self, attempt: &Attempt) -> Option<i32> {
        self.ts_recent.zip(attempt.ts_val).map(|(recent, ts_val)| ahead(ts_val, recent))
    }
}

/// What a SYN that is refused gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The old connection's ACK.
    Ack,
    /// Nothing.
    Silence,
}

/// Where PAWS comes before the answer, what it drops gets none.
fn silent_for_paws(verdict: Verdict) -> Refusal {
    if verdict == Verdict::RefusePaws { Refusal::Silence } else { Refusal::Ack }
}

fn by_sequence(accepts: bool) -> Verdict {
    if accepts { Verdict::Accept } else { Verdict::RefuseSequence }
}

/// In all other states a challenge ACK is due (RFC 5961, 4.2).
fn in_time_wait(held: &Held, verdict: impl FnOnce() -> Verdict) -> Verdict {
    match held.state {
        Holder::TimeWait | Holder::Unknown => verdict(),
        _ => Verdict::RefuseInUse,
    }
}

/// Which model a host has by configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    /// The first prefix that holds the address counts.
    pub configured: Vec<(Prefix, Model)>,
}

impl Hosts {
    /// The model that is configured for this address.
    #[must_use]
    pub fn configured(&self, addr: &[u8; 16]) -> Option<Model> {
        let found = self.configured.iter().find(|(prefix, _)| prefix.contains(addr));
        found.map(|(_, model)| *model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::SECOND_US;

    /// A connection with timestamps in TIME-WAIT.
    pub const HELD: Held = Held {
        state: Holder::TimeWait,
        expected: 1000,
        ts_recent: Some(5000),
        ts_stale: false,
        ts_age_us: SECOND_US,
        window: Some(65_535),
        limited: false,
    };

    /// A SYN whose numbers are so far ahead of what [`HELD`] knows.
    pub fn with(isn_delta: i32, ts_delta: Option<i32>) -> Attempt {
        let ts_val = ts_delta.map(|delta| 5000u32.wrapping_add_signed(delta));
        Attempt { isn: 1000u32.wrapping_add_signed(isn_delta), ts_val }
    }
}
