//! The configuration: files, environment and command line become one, in rising order.
//!
//! The command line's options are the one definition. [`keys`] makes keys of them, [`files`] and
//! [`environment`] read what they are given, and what is said there is put before the real arguments as
//! if somebody had typed it; so every value goes through its option's own parser. [`check`] looks at
//! what no parser sees: missing partners, secrets that others can read.

pub mod check;
pub mod command;
pub mod environment;
pub mod files;
#[cfg(feature = "webhook")]
pub mod hook_keys;
pub mod hooks;
pub mod keys;
pub mod mistake;
pub mod reload;
pub mod show;

mod flags;
mod typed;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::args::Args;
use hooks::Hooks;
use mistake::{Mistake, Origin};
use typed::{Typed, is_live_only};

/// Tables of `/etc` that are not for whoever reads a capture file on the same machine: the alerts of an
/// old capture are not for those on call, nor is its evidence for the sensor's folder.
const OF_THE_SENSOR: [&str; 3] = ["webhooks", "evidence", "api"];

/// What one key was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The option's id.
    pub id: String,
    /// As the command line would have them.
    pub values: Vec<String>,
    /// Where that was said.
    pub origin: Origin,
}

/// What was said, and where.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// What counts of each key, by the option's id.
    pub settings: BTreeMap<String, Setting>,
    /// The webhooks that files describe.
    pub hooks: Hooks,
    /// The files that were read.
    pub read: Vec<PathBuf>,
}

/// A configuration that can be run.
#[derive(Debug)]
pub struct Loaded {
    /// As if all had been said on the command line.
    pub args: Args,
    /// Where it comes from.
    pub config: Config,
}

/// Why there is nothing to run.
#[derive(Debug)]
pub enum Failure {
    /// The command line is wrong, or asks for help.
    Usage(clap::Error),
    /// These are all mistakes of files and environment, and with `-T` of the command line.
    Mistakes(Vec<Mistake>),
}

/// Reads the command line, and what files and environment add to it.
///
/// # Errors
/// Everything that is wrong.
pub fn load(argv: &[OsString]) -> Result<Loaded, Failure> {
    let keys = keys::keys();
    let (typed, mut mistakes) = Typed::read_on(argv, &keys)?;
    let named = typed.matches().get_one::<PathBuf>("config").cloned();
    let main = named.as_deref().unwrap_or(Path::new(files::DEFAULT));
    let mut said = match typed.wants_files() {
        true => files::read(main, named.is_some(), &keys),
        false => files::Said::default(),
    };
    if typed.reads_captures() && named.is_none() {
        let user = std::mem::take(&mut said.mistakes);
        user.iter().for_each(|mistake| crate::log::complain(&format!("left out: {mistake}")));
        said.hooks = Hooks::default();
        let of_sensor = |id: &String| {
            keys.iter().any(|key| key.id == *id && OF_THE_SENSOR.contains(&key.section.as_str()))
        };
        said.settings.retain(|setting| !of_sensor(&setting.id));
    }
    mistakes.append(&mut said.mistakes);
    said.settings.extend(environment::read(&keys, &mut mistakes));
    if typed.reads_captures() {
        // A sensor that compares compares its interfaces.
        let of_interfaces = |key: &&keys::Key| is_live_only(key) || key.id == "compare";
        let live: Vec<_> = keys.iter().filter(of_interfaces).map(|key| &key.id).collect();
        said.settings.retain(|setting| !live.contains(&&setting.id));
    }
    let mut config = Config { hooks: said.hooks, read: said.read, ..Config::default() };
    for setting in said.settings.into_iter().chain(typed.settings(&keys)) {
        config.settings.insert(setting.id.clone(), setting);
    }
    if config.settings.contains_key("webhook") {
        // Those of a higher rank stand for those of the files.
        config.hooks = Hooks::default();
    }
    check::check(&config, &keys, &mut mistakes);
    if typed.is_test() {
        environment::misspelt(&keys, &mut mistakes);
        environment::log_filter(&mut mistakes);
    }
    if typed.names.first().is_some_and(|name| name == "explain") {
        // A page can be read whatever is wrong elsewhere.
        mistakes.clear();
    }
    if !mistakes.is_empty() {
        mistakes.sort();
        mistakes.dedup();
        return Err(Failure::Mistakes(mistakes));
    }
    let args = typed.parse(&config, &keys)?;
    // Without a file everything is checked where it is used.
    #[cfg(any(feature = "api", feature = "webhook"))]
    if typed.is_test() || (typed.names.is_empty() && !config.read.is_empty()) {
        let mistakes = check::whole(&args, &config);
        if !mistakes.is_empty() {
            return Err(Failure::Mistakes(mistakes));
        }
    }
    #[cfg(feature = "webhook")]
    let args =
        args.with_hooks(config.hooks.tables.iter().map(|table| table.config.clone()).collect());
    Ok(Loaded { args, config })
}
