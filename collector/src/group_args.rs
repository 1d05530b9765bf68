//! The command line's part about grouping: when people are told of a group of findings.

use std::time::Duration;

use xdpwatch_core::group::Config;
use xdpwatch_core::group::pool::Prefixes;

use crate::value_args::duration;

/// Options about groups of findings.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Grouping")]
pub struct GroupArgs {
    /// Tell of a group of findings again at most this often
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "60s")]
    pub group_interval: Duration,
    /// Tell of a group that got worse this long after, so that what comes with it is in it
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1s")]
    pub group_worse: Duration,
    /// A group is resolved when for this long after its last finding's end nothing came
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "120s")]
    pub group_quiet: Duration,
    /// A group is resolved when for this long nothing was heard of what still fires
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "24h")]
    pub group_stale: Duration,
    /// Bits of an IPv4 address that name the pool of sources a group is about
    #[arg(long, value_name = "BITS", default_value_t = 24)]
    #[arg(value_parser = clap::value_parser!(u8).range(0..=32))]
    pub group_prefix_v4: u8,
    /// The same of an IPv6 address
    #[arg(long, value_name = "BITS", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u8).range(0..=128))]
    pub group_prefix_v6: u8,
}

impl GroupArgs {
    /// As the detector takes it.
    #[must_use]
    pub fn config(&self) -> Config {
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Config {
            interval_ns: ns(self.group_interval),
            worse_ns: ns(self.group_worse),
            quiet_ns: ns(self.group_quiet),
            stale_ns: ns(self.group_stale),
            prefixes: Prefixes { v4: self.group_prefix_v4, v6: self.group_prefix_v6 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        group: GroupArgs,
    }

    #[test]
    fn the_defaults_are_those_of_the_core() {
        let group = Alone::parse_from(["x"]).group.config();
        assert_eq!(format!("{group:?}"), format!("{:?}", Config::default()));
    }
}
