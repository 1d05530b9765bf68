//! What the environment says: `XDPWATCH_` and the option's name in capitals, for every option that files
//! may have.

use std::env;

use super::Setting;
use super::keys::{Key, Kind};
use super::mistake::{Mistake, Origin, nearest};
use crate::log;

/// Variables that are no option's.
pub const OTHERS: [(&str, &str); 4] = [
    ("XDPWATCH_CONFIG", "the main configuration file, as --config"),
    (log::VARIABLE, "what is logged, finer than --verbose: info, or xdpwatch::webhook=debug"),
    ("XDPWATCH_TOKEN", "the token that clients of the API must send, instead of a file"),
    ("XDPWATCH_WEBHOOK_SECRET", "the secret of hooks that name no file"),
];

/// What is set. Variables that are empty say nothing; lists are parted by spaces.
#[must_use]
pub fn read(keys: &[Key], mistakes: &mut Vec<Mistake>) -> Vec<Setting> {
    let mut settings = Vec::new();
    for key in keys {
        let variable = key.variable();
        let Some(value) = env::var_os(&variable).filter(|value| !value.is_empty()) else {
            continue;
        };
        let origin = Origin::Environment(variable);
        let mut wrong = |what| {
            mistakes.push(Mistake { at: origin.clone(), key: String::new(), what });
        };
        let Ok(value) = value.into_string() else {
            wrong("it is not UTF-8".to_owned());
            continue;
        };
        let values: Vec<_> = match key.kind {
            Kind::Flag => vec![truth(&value)],
            _ if key.is_list => value.split_whitespace().map(str::to_owned).collect(),
            _ => vec![value],
        };
        values.iter().filter_map(|value| key.check(value).err()).for_each(&mut wrong);
        settings.push(Setting { id: key.id.clone(), values, origin });
    }
    settings
}

/// The words of other programs for true and false.
fn truth(value: &str) -> String {
    match value.to_lowercase().as_str() {
        "1" | "yes" | "on" => "true".to_owned(),
        "0" | "no" | "off" => "false".to_owned(),
        word => word.to_owned(),
    }
}

/// A filter of the log that can't be read. A run goes on without it.
pub fn log_filter(mistakes: &mut Vec<Mistake>) {
    let at = Origin::Environment(log::VARIABLE.to_owned());
    mistakes.extend(log::wrong_filter().map(|what| Mistake { at, key: String::new(), what }));
}

/// Names that are nearly a variable's.
pub fn misspelt(keys: &[Key], mistakes: &mut Vec<Mistake>) {
    let known: Vec<_> = keys.iter().map(Key::variable).collect();
    let known = || known.iter().map(String::as_str).chain(OTHERS.iter().map(|(name, _)| *name));
    for (name, _) in env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with("XDPWATCH_")) else {
            continue;
        };
        if known().any(|known| known == name) {
            continue;
        }
        let own = |name: &str| name.strip_prefix("XDPWATCH_").unwrap_or_default().to_owned();
        let names: Vec<_> = known().map(own).collect();
        if let Some(meant) = nearest(&own(name), names.iter().map(String::as_str)) {
            let at = Origin::Environment(name.to_owned());
            let what = format!("there is no such variable; did you mean XDPWATCH_{meant}?");
            mistakes.push(Mistake { at, key: String::new(), what });
        }
    }
}
