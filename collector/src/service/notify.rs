//! The service manager's part (sd_notify): ready, what it does, that it goes on, that it ends.
//! Without NOTIFY_SOCKET nothing is said to anybody.

use std::fmt;
use std::time::Duration;

use sd_notify::NotifyState;
use tracing::debug;

use crate::health::Lost;
use crate::stats::{FindingStats, Stats};

/// Says how the sensor fares.
#[derive(Debug)]
pub struct Notifier {
    watchdog: Option<Duration>,
    status: String,
}

impl Notifier {
    /// For the service manager of the environment.
    #[must_use]
    pub fn new() -> Self {
        Self { watchdog: sd_notify::watchdog_enabled(), status: String::new() }
    }

    /// Attached, or done with reading the configuration again.
    pub fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// Begins to read the configuration again; [`ready`](Self::ready) ends it.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
    }

    /// What it does at the moment, and whether every worker goes on: if one does not, the watchdog
    /// hears nothing.
    pub fn progress(&mut self, status: String, goes_on: bool) {
        if self.watchdog.is_some() && goes_on {
            tell(&[NotifyState::Watchdog]);
        }
        if self.status != status {
            tell(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }

    /// The end was asked for.
    pub fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }
}

impl Default for Notifier {
    fn default() -> Self {
        Self::new()
    }
}

/// One line about all interfaces: what `systemctl status` shows.
#[derive(Clone, Debug, Default)]
pub struct Status {
    interfaces: Vec<String>,
    records: u64,
    findings: u64,
    lost: u64,
    trouble: Option<String>,
}

impl Status {
    /// Adds an interface's numbers, and what keeps it from being ready.
    pub fn add(&mut self, interface: &str, stats: &Stats, trouble: Option<&str>) {
        self.interfaces.push(interface.to_owned());
        self.records += stats.detector.counters.records;
        let FindingStats { severity_1, severity_2, severity_3, .. } = stats.findings;
        self.findings += severity_1 + severity_2 + severity_3;
        self.lost += Lost::of(&stats.live.unwrap_or_default(), &stats.detector).total();
        self.trouble = self.trouble.take().or(trouble.map(str::to_owned));
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interfaces, records, findings, lost, trouble } = self;
        if let Some(trouble) = trouble {
            write!(f, "NOT READY: {trouble}; ")?;
        }
        let names = interfaces.join(", ");
        write!(f, "watching {names}: {records} records, {findings} findings, {lost} lost")
    }
}

fn tell(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        // The service manager notices by itself that it hears nothing.
        debug!("the service manager can't be told: {error}");
    }
}
