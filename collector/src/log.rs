//! What is said on standard error: a line to whoever runs the command, and the log.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::plain::plain;

/// The environment variable with a filter that is finer than `--verbose`.
pub const VARIABLE: &str = "XDPWATCH_LOG";

/// One line on standard error; where even that fails there is nobody left to tell.
pub fn complain(what: &str) {
    let _ = writeln!(io::stderr(), "xdpwatch: {}", plain(what));
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
    given_filter().and_then(Result::ok).unwrap_or_else(|| EnvFilter::new(level))
}

/// The filter that the environment gives, if any.
fn given_filter() -> Option<Result<EnvFilter, ParseError>> {
    let given = std::env::var_os(VARIABLE).filter(|given| !given.is_empty())?;
    // What is not UTF-8 is no filter, even where it is lossily made one.
    Some(EnvFilter::try_new(given.to_str().unwrap_or("=")))
}

/// What is wrong with the filter that the environment gives.
pub fn wrong_filter() -> Option<String> {
    let error = given_filter()?.err()?;
    Some(format!("it is no log filter ({error}): give info, or xdpwatch::webhook=debug"))
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
    if let Some(wrong) = wrong_filter() {
        complain(&format!("environment {VARIABLE}: {wrong}; it is left out"));
    }
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
