//! Host models: what a holder's TCP does with a SYN on a tuple that it still holds.
//!
//! One file per family of TCPs, and here the models that are chosen from, by configuration for a
//! prefix or else Linux. A model never sees the answer.

pub mod bsd;
pub mod linux;

use alloc::vec::Vec;

use crate::flow::SECOND_US;
use crate::prefix::Prefix;
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

/// What a SYN that is refused gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The old connection's ACK.
    Ack,
    /// Nothing.
    Silence,
    /// Not known.
    Unknown,
}

macro_rules! models {
    ($($(#[$doc:meta])+ $model:ident = $word:literal,)+) => {
        /// Whose TCP it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Model {
            $($(#[$doc])+ $model,)+
        }

        impl Model {
            /// Every model.
            pub const ALL: &[Self] = &[$(Self::$model,)+];

            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The contract's word, also that of the configuration.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$model => $word,)+
                }
            }

            /// The name of the counter of answers that contradicted it.
            #[must_use]
            pub fn contradicted_word(self) -> &'static str {
                match self {
                    $(Self::$model => concat!("contradicted_", $word),)+
                }
            }
        }
    };
}

models! {
    /// Linux since 6.7; the rules are the same before but for the age of PAWS.
    Linux = "linux",
    /// Linux from 4.12 to 6.6: timestamps count for 24 days.
    LinuxBefore67 = "linux_before_6_7",
    /// Linux before 4.12 with `tcp_tw_recycle` on.
    LinuxRecycle = "linux_tw_recycle",
    /// HAProxy's host: a full proxy holds nothing itself, the kernel below it does.
    Haproxy = "haproxy",
    /// FreeBSD.
    FreeBsd = "freebsd",
    /// OpenBSD.
    OpenBsd = "openbsd",
    /// macOS.
    MacOs = "macos",
    /// Windows: no primary source tells its rule for SYNs.
    Windows = "windows",
    /// F5 BIG-IP with a TCP profile: TIME-WAIT for 2 s, recycled.
    F5 = "f5",
    /// F5 BIG-IP FastL4: no TIME-WAIT at all.
    F5FastL4 = "f5_fastl4",
    /// A10: sessions are kept for the MSL of 2 s.
    A10 = "a10",
}

impl Model {
    /// The model of this name.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|model| model.word() == word).copied()
    }

    /// What a holder does with the SYN.
    #[must_use]
    pub fn verdict(self, held: &Held, attempt: &Attempt) -> Verdict {
        match self {
            Self::Linux | Self::Haproxy => linux::verdict(held, attempt, linux::PAWS_AGE_US),
            Self::LinuxBefore67 => linux::verdict(held, attempt, linux::PAWS_24_DAYS_US),
            Self::LinuxRecycle => linux::recycling(held, attempt),
            Self::FreeBsd => bsd::freebsd(held, attempt),
            Self::OpenBsd => bsd::openbsd(held, attempt),
            Self::MacOs => bsd::macos(held, attempt),
            Self::F5FastL4 if held.state == Holder::TimeWait => Verdict::Accept,
            Self::Windows | Self::F5 | Self::F5FastL4 | Self::A10 => Verdict::Unknown,
        }
    }

    /// How long it holds TIME-WAIT, microseconds, where nothing is configured on it.
    #[must_use]
    pub fn time_wait_us(self) -> u64 {
        match self {
            _ if self.is_linux() => linux::TIME_WAIT_US,
            Self::MacOs => bsd::MACOS_TIME_WAIT_US,
            // TcpTimedWaitDelay since Windows Server 2003.
            Self::Windows => 120 * SECOND_US,
            Self::F5 | Self::A10 => 2 * SECOND_US,
            Self::F5FastL4 => 0,
            _ => bsd::TIME_WAIT_US,
        }
    }

    /// What a SYN gets that this verdict refuses.
    #[must_use]
    pub fn refusal(self, verdict: Verdict) -> Refusal {
        match (self, verdict) {
            (_, Verdict::RefuseInUse) => Refusal::Ack,
            (Self::FreeBsd, _) | (Self::MacOs, Verdict::RefusePaws) => Refusal::Silence,
            (Self::OpenBsd, _) => Refusal::Unknown,
            _ => Refusal::Ack,
        }
    }

    /// Whether its kernel is Linux.
    #[must_use]
    pub fn is_linux(self) -> bool {
        matches!(self, Self::Linux | Self::LinuxBefore67 | Self::LinuxRecycle | Self::Haproxy)
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

    #[test]
    fn models_are_found_by_their_names() {
        for model in Model::ALL {
            assert_eq!(Model::named(model.word()), Some(*model));
        }
        assert_eq!(Model::named("solaris"), None);
    }
}
