//! The subcommands: what `xdpwatch` does besides watching. Each one's options stand with its module.

use std::process::ExitCode;

use clap::Subcommand;

use crate::args::Args;
use crate::config;
#[cfg(feature = "xdp")]
use crate::doctor;
use crate::explain;
use crate::generate;
#[cfg(feature = "webhook")]
use crate::webhook;

/// What is done instead of watching.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Show the configuration that counts, or an example of its files
    #[command(subcommand)]
    Config(config::command::Action),
    #[cfg(feature = "xdp")]
    /// Say whether this host and an interface are fit for capturing, and what to change
    Doctor(doctor::Options),
    /// Say what a rule or a cause means, how it is decided, and what to do
    Explain(explain::Options),
    #[cfg(feature = "webhook")]
    /// Try webhooks
    #[command(subcommand)]
    Webhook(webhook::probe::Action),
    /// Write manual pages and completions into a folder, for packages
    #[command(hide = true)]
    Generate(generate::Options),
}

impl Command {
    /// Does it; each chooses its exit status itself.
    #[must_use]
    pub fn run(&self, args: &Args) -> ExitCode {
        match *self {
            Self::Config(ref action) => config::command::run(action, args.config.as_deref()),
            #[cfg(feature = "xdp")]
            Self::Doctor(ref options) => doctor::run(options),
            Self::Explain(ref options) => explain::run(options),
            #[cfg(feature = "webhook")]
            Self::Webhook(ref action) => webhook::probe::run(action),
            Self::Generate(ref options) => generate::run(options),
        }
    }
}
