//! The models that are chosen from: each one's name, and the file that knows its rules.

use super::{
    Attempt, Held, Refusal, Verdict, a10, f5, freebsd, haproxy, linux, linux_recycle, macos,
    openbsd, silent_for_paws, windows,
};

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
            Self::Linux => linux::verdict(held, attempt, linux::PAWS_AGE_US),
            Self::LinuxBefore67 => linux::verdict(held, attempt, linux::PAWS_24_DAYS_US),
            Self::LinuxRecycle => linux_recycle::verdict(held, attempt),
            Self::Haproxy => haproxy::verdict(held, attempt),
            Self::FreeBsd => freebsd::verdict(held, attempt),
            Self::OpenBsd => openbsd::verdict(held, attempt),
            Self::MacOs => macos::verdict(held, attempt),
            Self::Windows => windows::verdict(held, attempt),
            Self::F5 => f5::verdict(held, attempt),
            Self::F5FastL4 => f5::fastl4(held, attempt),
            Self::A10 => a10::verdict(held, attempt),
        }
    }

    /// How long it holds TIME-WAIT, microseconds, where nothing is configured on it.
    #[must_use]
    pub fn time_wait_us(self) -> u64 {
        match self {
            Self::Linux | Self::LinuxBefore67 => linux::TIME_WAIT_US,
            Self::LinuxRecycle => linux_recycle::TIME_WAIT_US,
            Self::Haproxy => haproxy::TIME_WAIT_US,
            Self::FreeBsd => freebsd::TIME_WAIT_US,
            Self::OpenBsd => openbsd::TIME_WAIT_US,
            Self::MacOs => macos::TIME_WAIT_US,
            Self::Windows => windows::TIME_WAIT_US,
            Self::F5 => f5::TIME_WAIT_US,
            Self::F5FastL4 => f5::FASTL4_TIME_WAIT_US,
            Self::A10 => a10::TIME_WAIT_US,
        }
    }

    /// What a SYN gets that this verdict refuses.
    #[must_use]
    pub fn refusal(self, verdict: Verdict) -> Refusal {
        match self {
            Self::Linux | Self::LinuxBefore67 => linux::refusal(verdict),
            Self::LinuxRecycle => linux_recycle::refusal(verdict),
            Self::Haproxy => haproxy::refusal(verdict),
            Self::FreeBsd => freebsd::refusal(verdict),
            Self::OpenBsd | Self::MacOs => silent_for_paws(verdict),
            Self::Windows => windows::refusal(verdict),
            Self::F5 | Self::F5FastL4 => f5::refusal(verdict),
            Self::A10 => a10::refusal(verdict),
        }
    }

    /// Whether its kernel is Linux.
    #[must_use]
    pub fn is_linux(self) -> bool {
        matches!(self, Self::Linux | Self::LinuxBefore67 | Self::LinuxRecycle | Self::Haproxy)
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
