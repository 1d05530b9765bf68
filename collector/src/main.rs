//! The `xdpwatch` command.

use std::process::ExitCode;

use clap::Parser;
use xdpwatch::args::Args;

fn main() -> ExitCode {
    xdpwatch::run::run(&Args::parse())
}
