//! Host models: what a holder's TCP does with a SYN on a tuple that it still holds.
//!
//! One file per TCP. Today Linux alone predicts; a model never sees the answer.

pub mod linux;

use crate::seq::is_after;

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
