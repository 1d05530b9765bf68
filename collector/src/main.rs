//! The `xdpwatch` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    xdpwatch::run::run(std::env::args_os().collect())
}
