//! The command line: names, units, defaults, and the checks that clap can make.

use std::path::PathBuf;
use std::time::Duration;

#[cfg(feature = "xdp")]
use clap::ValueEnum;
use clap::{ArgAction, ArgGroup, CommandFactory, Parser};

use xdpwatch_core::finding::Endpoint;
use xdpwatch_core::host::Model;
use xdpwatch_core::prefix::Prefix;

#[cfg(feature = "api")]
use crate::api::args::ApiArgs;
use crate::command::Command;
use crate::evidence::args::EvidenceArgs;
use crate::group_args::GroupArgs;
use crate::lang;
use crate::prefix_args::{host_model, port_range, server, snat, vip};
#[cfg(feature = "xdp")]
pub use crate::value_args::{CpuList, cpu_list, power_of_two};
use crate::value_args::{duration, sensor_name};

/// Finds connections that fail because their TCP tuple is still held by an earlier connection
/// (TIME-WAIT, FIN-WAIT-2 and others), live on a mirror port or in capture files.
///
/// Exit status: 0 done, 1 failed while running, 2 wrong usage, 3 findings of severity 1 or 2
/// (with --exit-code).
///
/// Every option may also stand in /etc/xdpwatch/xdpwatch.toml (`xdpwatch config example` shows all
/// keys) and in the environment, as XDPWATCH_ and its name in capitals: XDPWATCH_MAX_TUPLES. The
/// command line counts most, then the environment. A TIME has a unit (500ms, 90s, 5m, 2h); a bare
/// number is seconds.
#[derive(Clone, Debug, Parser)]
#[command(name = "xdpwatch", version, max_term_width = 100)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[cfg_attr(
    feature = "xdp",
    command(group = ArgGroup::new("input").required(true).args(["iface", "read"]))
)]
#[cfg_attr(
    not(feature = "xdp"),
    command(group = ArgGroup::new("input").required(true).args(["read"]))
)]
pub struct Args {
    /// What is done instead of watching.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The main configuration file; the folder conf.d beside it is read too [default:
    /// /etc/xdpwatch/xdpwatch.toml, which need not be there]
    #[arg(long, value_name = "FILE", env = "XDPWATCH_CONFIG", global = true)]
    #[arg(hide_env_values = true, help_heading = "Configuration")]
    pub config: Option<PathBuf>,
    /// Check configuration files, environment and command line, name each mistake, and exit: status 0
    /// if there is none, else 2
    #[arg(short = 'T', long, help_heading = "Configuration")]
    pub test_config: bool,
    #[cfg(feature = "xdp")]
    /// Capture live on this interface; repeat it for several that feed one set of tables, such as the
    /// two ports of a tap that splits the directions, or with --compare for two places
    #[arg(short, long, value_name = "IF", help_heading = "Input")]
    pub iface: Vec<String>,
    /// Read a capture file: pcap or pcapng, plain, gzip or zstd; `-` is standard input. Repeat it
    /// for several, each a vantage point of its own
    #[arg(short, long, value_name = "FILE", help_heading = "Input")]
    pub read: Vec<PathBuf>,
    /// Compare two capture files, or two interfaces live, that show the same traffic at two places:
    /// what was lost on the way between them, and how the clocks of files differ. Live it says so
    /// every 10 s, or with the statistics, and takes all TCP headers
    #[arg(long, help_heading = "Input")]
    pub compare: bool,
    /// Stop after this many packets
    #[arg(long, value_name = "N", help_heading = "Input")]
    pub count: Option<u64>,
    #[cfg(feature = "xdp")]
    /// Stop after this time of live capture (500ms, 90s, 5m, 2h)
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "read")]
    #[arg(help_heading = "Input")]
    pub duration: Option<Duration>,

    /// Print one JSON object per line instead of text
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Language of the text for people.
    #[command(flatten)]
    pub language: lang::Choice,
    /// Report accepted reuse of tuples too
    #[arg(long, help_heading = "Output")]
    pub all_reuse: bool,
    /// Exit with status 3 if there were findings of severity 1 or 2
    #[arg(long, help_heading = "Output")]
    pub exit_code: bool,
    #[cfg(feature = "xdp")]
    /// Write the selected headers to this pcapng file (live capture; no payload is in it)
    #[arg(short, long, value_name = "FILE", conflicts_with = "read", help_heading = "Output")]
    pub write: Option<PathBuf>,
    /// Name of this sensor in events [default: the host's name]
    #[arg(long, value_name = "NAME", value_parser = sensor_name, help_heading = "Output")]
    pub sensor: Option<String>,
    #[cfg(feature = "xdp")]
    /// Report statistics this often (SIGUSR1 does so at once) [default: only at the end]
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "read")]
    #[arg(help_heading = "Output")]
    pub stats_interval: Option<Duration>,
    /// Say more on standard error; repeat it for still more
    #[arg(short, long, action = ArgAction::Count, help_heading = "Output")]
    pub verbose: u8,

    /// Tuples remembered at most, over all workers: 65 bytes each for IPv4; a quarter
    /// as many IPv6 ones besides, 129 bytes each
    #[arg(long, value_name = "N", default_value_t = 4_000_000, help_heading = "Detection")]
    #[arg(value_parser = clap::value_parser!(u64).range(1024..=1 << 32))]
    pub max_tuples: u64,
    /// Remember closed tuples for this long while there is room
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "300s")]
    #[arg(help_heading = "Detection")]
    pub horizon: Duration,
    /// Make the VLAN ids part of the tuple (only where both directions carry the same)
    #[arg(long, help_heading = "Detection")]
    pub vlan_key: bool,
    /// Whose TCP the hosts of a prefix have: what they do with a SYN on a tuple that they hold
    /// [default: linux]; repeat it, the first prefix that fits counts
    #[arg(long, value_name = "PREFIX=MODEL", value_parser = host_model, help_heading = "Detection")]
    pub host_model: Vec<(Prefix, Model)>,
    /// The ports that sources of a prefix take for connections [default: as seen]; repeat it, the
    /// first prefix that fits counts
    #[arg(long, value_name = "PREFIX=FIRST-LAST", value_parser = port_range)]
    #[arg(help_heading = "Detection")]
    pub port_range: Vec<(Prefix, (u16, u16))>,
    /// A service that clients call on a balancer [default: as seen]; repeat it for several
    #[arg(long, value_name = "ADDR:PORT", value_parser = vip, help_heading = "Detection")]
    pub vip: Vec<Endpoint>,
    /// The addresses that balancers call servers from [default: as seen]; repeat it for several
    #[arg(long, value_name = "PREFIX", value_parser = snat, help_heading = "Detection")]
    pub snat: Vec<Prefix>,
    /// The servers behind balancers, IPv6 with a port in brackets: [2001:db8::/64]:80 [default: as seen];
    /// repeat it for several
    #[arg(long, value_name = "PREFIX[:PORT]", value_parser = server, help_heading = "Detection")]
    pub server: Vec<(Prefix, Option<u16>)>,
    /// Report connections that one end closed and the other did not for longer than this
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "60s")]
    #[arg(help_heading = "Detection")]
    pub half_closed_limit: Duration,
    /// Workers for reading files (live capture has one for each receive queue of each interface)
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Detection")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,
    /// Records handled at once by a worker, 1 to 64
    #[arg(long, value_name = "N", default_value_t = 64, help_heading = "Detection")]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=64))]
    pub batch: u8,

    /// Options about groups of findings.
    #[command(flatten)]
    pub group: GroupArgs,

    /// Options about webhooks.
    #[cfg(feature = "webhook")]
    #[command(flatten)]
    pub webhooks: crate::webhook::options::Options,

    /// Options about evidence files.
    #[command(flatten)]
    pub evidence: EvidenceArgs,

    /// Options about metrics and API.
    #[cfg(feature = "api")]
    #[command(flatten)]
    pub api: ApiArgs,

    /// Options about what is kept over a restart.
    #[cfg(feature = "xdp")]
    #[command(flatten)]
    pub state: crate::state_file::StateArgs,

    /// Options of live capture.
    #[cfg(feature = "xdp")]
    #[command(flatten)]
    pub live: LiveArgs,

    /// Options about rights.
    #[cfg(feature = "xdp")]
    #[command(flatten)]
    pub rights: crate::service::args::RightsArgs,
}

/// Options that only live capture has.
#[cfg(feature = "xdp")]
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Live capture")]
#[group(conflicts_with = "read")]
pub struct LiveArgs {
    /// afxdp takes frames off the interface; tap copies headers and lets every frame pass
    #[arg(long, value_enum, default_value_t = Mode::Afxdp)]
    pub mode: Mode,
    /// Where the XDP program runs: in the driver, or generically in the kernel's stack
    #[arg(long, value_enum, default_value_t = XdpMode::Auto)]
    pub xdp_mode: XdpMode,
    /// Take frames even off an interface that the host itself uses: THE HOST LOSES THEM
    #[arg(long)]
    pub consume: bool,
    /// Hand frames that are not TCP to the kernel's stack instead of dropping them
    #[arg(long)]
    pub pass_other: bool,
    /// Take only mirrored traffic that arrives in this encapsulation, addressed to this host; all
    /// else passes untouched
    #[arg(long, value_enum, value_name = "KIND", conflicts_with = "consume")]
    pub encap: Option<Encap>,
    /// What the XDP program selects: segments that open or close connections with those around
    /// them, or all TCP headers [default: control; with --compare all]
    #[arg(long, value_enum)]
    pub select: Option<Select>,
    /// How long after a SYN all segments of its tuple are selected
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s")]
    pub syn_window: Duration,
    /// How long after a FIN all segments of its tuple are selected
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "65s")]
    pub fin_window: Duration,
    /// Slots of the kernel's filter of tuples in transition, 8 bytes each; a power of two
    #[arg(long, value_name = "N", default_value_t = 1 << 20, value_parser = power_of_two)]
    pub filter_slots: u32,
    /// Frames in each receive ring; a power of two
    #[arg(long, value_name = "N", default_value_t = 1 << 14, value_parser = power_of_two)]
    pub ring_size: u32,
    /// Poll the driver from the workers for this long at a time, microseconds, instead of waiting
    /// for its interrupts: lower latency for busier processors
    #[arg(long, value_name = "US", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub busy_poll: Option<u32>,
    /// Segments of each interface that --compare remembers at most, 72 bytes each; what comes while
    /// there is no room for it is not compared, and counted
    #[arg(long, value_name = "N", default_value_t = 1_500_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(3000..=1 << 28))]
    pub compare_segments: u32,
    /// Processors to pin the workers to, in order: 2,3 or 4-7 [default: those of the interface's
    /// memory node that it may run on]
    #[arg(long, value_name = "LIST", value_parser = cpu_list)]
    pub cpus: Option<CpuList>,
    /// Which worker owns a tuple: by a hash of the tuple, or the one whose queue received it (only
    /// where receive-side scaling is symmetric) [default: hash]
    #[arg(long, value_enum, default_value_t = Owner::Hash)]
    pub owner: Owner,
}

impl Args {
    /// The command line as `--help` shows it.
    #[must_use]
    pub fn whole_command() -> clap::Command {
        Self::command()
    }

    /// Whether every TCP header is taken: a comparison says of each segment whether it arrived.
    #[cfg(feature = "xdp")]
    #[must_use]
    pub fn selects_all(&self) -> bool {
        self.live.select.map_or(self.compare, |select| select == Select::All)
    }

    /// Takes the webhooks that configuration files describe.
    #[cfg(feature = "webhook")]
    #[must_use]
    pub fn with_hooks(mut self, hooks: Vec<crate::webhook::config::WebhookConfig>) -> Self {
        match &mut self.command {
            Some(Command::Webhook(crate::webhook::probe::Action::Test(options))) => {
                options.tables = hooks;
            }
            _ => self.webhooks.tables = hooks,
        }
        self
    }
}

/// How frames reach user space.
#[cfg(feature = "xdp")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Redirected to AF_XDP sockets.
    Afxdp,
    /// Headers copied to a ring buffer; every frame passes.
    Tap,
}

/// Where the XDP program runs.
#[cfg(feature = "xdp")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum XdpMode {
    /// In the driver if it can, else generic, with a warning.
    Auto,
    /// In the driver or not at all.
    Driver,
    /// In the kernel's stack.
    Generic,
}

/// Encapsulation of a mirror that is addressed to this host.
#[cfg(feature = "xdp")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Encap {
    /// UDP port 4789 (RFC 7348) or 8472.
    Vxlan,
    /// UDP port 6081 (RFC 8926).
    Geneve,
    /// IP protocol 47 (RFC 2784, 2890).
    Gre,
    /// ERSPAN types I to III over GRE.
    Erspan,
}

/// What the XDP program selects.
#[cfg(feature = "xdp")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Select {
    /// SYN, FIN, RST, and every segment of tuples in transition.
    Control,
    /// Every TCP header.
    All,
}

/// How the owner of a tuple is found.
#[cfg(feature = "xdp")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Owner {
    /// By a symmetric hash in software, with hand-off between workers.
    Hash,
    /// The worker whose queue received it.
    Rss,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_well_formed() {
        Args::command().debug_assert();
    }

    #[cfg(feature = "xdp")]
    #[test]
    fn options_of_live_capture_are_refused_for_files() {
        assert!(Args::try_parse_from(["xdpwatch", "-r", "a.pcap"]).is_ok());
        for more in [
            &["--write", "out.pcapng"][..],
            &["--duration", "5s"],
            &["--stats-interval", "5s"],
            &["--mode", "tap"],
            &["--consume"],
            &["--ring-size", "64"],
        ] {
            let file = [&["xdpwatch", "-r", "a.pcap"], more].concat();
            let refused = Args::try_parse_from(file).expect_err(more[0]);
            assert_eq!(refused.kind(), clap::error::ErrorKind::ArgumentConflict, "{more:?}");
            let live = [&["xdpwatch", "-i", "eth0"], more].concat();
            assert!(Args::try_parse_from(live).is_ok(), "{more:?}");
        }
    }
}
