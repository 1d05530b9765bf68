//! SIGHUP: the configuration is read again. What can change without losing state does, of the rest it
//! is said that it needs a restart, and with a mistake everything stays as it is.

use std::ffi::OsString;

use tracing::info;

use super::keys::{Key, keys};
use super::{Config, Failure, Loaded, load};
use crate::args::Args;
use crate::log::complain;

/// Keys that take effect at once, by the options' ids. Tables, rings and what is attached keep theirs:
/// they were made at the start.
const TAKEN: [&str; 17] = [
    "stats_interval",
    "verbose",
    "all_reuse",
    "host_model",
    "port_range",
    "vip",
    "snat",
    "server",
    "half_closed_limit",
    "group_interval",
    "group_worse",
    "group_quiet",
    "group_stale",
    "evidence_files",
    "evidence_bytes",
    "evidence_age",
    "evidence_packets",
];

/// Whether SIGHUP takes this key.
#[must_use]
pub fn is_taken(id: &str) -> bool {
    TAKEN.contains(&id) || (id.starts_with("webhook") && id != "webhook_wait")
}

/// Reads the configuration again, and knows the one before.
#[derive(Clone, Debug)]
pub struct Reloader {
    argv: Vec<OsString>,
    config: Config,
}

impl Reloader {
    /// Of this command line, which gave this configuration.
    #[must_use]
    pub fn new(argv: Vec<OsString>, config: Config) -> Self {
        Self { argv, config }
    }

    /// What counts from now on; `None` where everything stays as it is. Says which, and of keys that need a
    /// restart that they do.
    pub fn read(&mut self) -> Option<Args> {
        let Loaded { args, config } = match load(&self.argv) {
            Ok(loaded) => loaded,
            Err(failure) => {
                match failure {
                    Failure::Usage(error) => complain(error.to_string().trim_end()),
                    Failure::Mistakes(all) => all.iter().for_each(|one| complain(&one.to_string())),
                }
                complain("reload: the configuration has mistakes; everything stays as it was");
                return None;
            }
        };
        let keys = keys();
        let changed = keys.iter().filter(|key| values(&self.config, key) != values(&config, key));
        let (taken, kept): (Vec<_>, Vec<_>) = changed.partition(|key| is_taken(&key.id));
        let mut what: Vec<_> = taken.into_iter().map(Key::path).collect();
        if !self.config.hooks.are(&config.hooks) {
            what.push("webhook".to_owned());
        }
        let what = if what.is_empty() { "nothing".to_owned() } else { what.join(", ") };
        complain(&format!("reload: the configuration is right; changed: {what}"));
        for key in kept {
            let origin = config.settings.get(&key.id).map(|setting| setting.origin.to_string());
            let origin = origin.unwrap_or_else(|| "default".to_owned());
            complain(&format!("reload: {} ({origin}) needs a restart", key.path()));
        }
        info!("configuration read again: {} files", config.read.len());
        // What needs a restart is said again the next time: it still does.
        for key in keys.iter().filter(|key| is_taken(&key.id)) {
            match config.settings.get(&key.id) {
                Some(setting) => self.config.settings.insert(key.id.clone(), setting.clone()),
                None => self.config.settings.remove(&key.id),
            };
        }
        self.config.hooks = config.hooks;
        Some(args)
    }
}

/// What counts of a key.
fn values(config: &Config, key: &Key) -> Vec<String> {
    config.settings.get(&key.id).map_or_else(|| key.default(), |setting| setting.values.clone())
}
