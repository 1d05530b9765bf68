//! What is said on standard error: a line to whoever runs the command, and the log.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// One line on standard error; where even that fails there is nobody left to tell.
pub fn complain(what: &str) {
    let _ = writeln!(io::stderr(), "xdpwatch: {what}");
}

/// The last error of these, for whoever called to say; those before it are said here.
///
/// # Errors
/// The last of them.
#[cfg(feature = "xdp")]
pub fn every(results: impl IntoIterator<Item = anyhow::Result<()>>) -> anyhow::Result<()> {
    let mut last = Ok(());
    for result in results {
        if result.is_err()
            && let Err(before) = std::mem::replace(&mut last, result)
        {
            complain(&format!("{before:#}"));
        }
    }
    last
}

/// What is logged may be changed while running.
static LOG: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

fn log_filter(verbose: u8) -> EnvFilter {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    EnvFilter::try_from_env("XDPWATCH_LOG").unwrap_or_else(|_| EnvFilter::new(level))
}

/// Logs as much as this from now on.
#[cfg(feature = "xdp")]
pub fn log_as(verbose: u8) {
    if let Some(handle) = LOG.get() {
        // It fails only where nothing is logged any more.
        let _ = handle.reload(log_filter(verbose));
    }
}

/// Logs to standard error, as much as this.
pub fn set_up(verbose: u8) {
    let (filter, handle) = reload::Layer::new(log_filter(verbose));
    let _ = LOG.set(handle);
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .with_target(false);
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    // Not `try_init`: in a build where any crate asks for `tracing-log` that would also bring what the HTTP client
    // writes to `log`, URLs and headers with secrets. A subscriber that is there already is as good.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
