//! What is wrong with values that are each right by themselves: options that exclude or need each other,
//! and files that are not there or that others can read.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::keys::{Key, command};
use super::mistake::{Mistake, Origin};
use super::{Config, Setting};
#[cfg(any(feature = "api", feature = "webhook"))]
use crate::args::Args;
#[cfg(feature = "webhook")]
use crate::webhook::config::Hook;

/// Keys of files that hold secrets.
const SECRETS: [&str; 2] = ["token_file", "tls_key"];

/// Keys of files that must be there and hold none.
const FILES: [&str; 3] = ["tls_cert", "webhook_ca_file", "webhook_template"];

/// Looks at all of it.
pub fn check(config: &Config, keys: &[Key], mistakes: &mut Vec<Mistake>) {
    let is_said = |id: &str| {
        config.settings.contains_key(id) || (id == "webhook" && !config.hooks.is_empty())
    };
    let command = command();
    for key in keys {
        // Of the command line it speaks itself.
        let Some(setting) = config.settings.get(&key.id).filter(|setting| !is_typed(setting))
        else {
            continue;
        };
        let wrong = |what| Mistake { at: setting.origin.clone(), key: key.path(), what };
        if !key.arguments(&setting.values).is_empty() {
            let missing = key.needs(&setting.values);
            let missing = missing.iter().filter(|id| !is_said(id)).filter_map(|id| named(keys, id));
            mistakes.extend(missing.map(|other| {
                wrong(format!("it means nothing without {}; set that too", other.path()))
            }));
            for other in key.conflicts(&command) {
                mistakes.extend(conflict(config, keys, &other).map(wrong));
            }
        }
        let Some(path) = setting.values.first().map(Path::new) else { continue };
        let is_secret = SECRETS.contains(&key.id.as_str());
        if is_secret || FILES.contains(&key.id.as_str()) {
            mistakes.extend(unfit(path, is_secret).map(wrong));
        }
    }
    redaction(config, mistakes);
    interfaces(config, mistakes);
    #[cfg(feature = "webhook")]
    hooks(config, mistakes);
}

/// What only shows once all of it is put together; each is said of the key that it begins with.
#[cfg(any(feature = "api", feature = "webhook"))]
#[must_use]
pub fn whole(args: &Args, config: &Config) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mut wrong = |id: &str, key: &str, error: anyhow::Error| {
        let at = config.settings.get(id).map_or(Origin::Default, |setting| setting.origin.clone());
        mistakes.push(Mistake { at, key: key.to_owned(), what: told(key, &error) });
    };
    #[cfg(feature = "api")]
    if let Err(error) = args.api.plan(args.read.is_empty()) {
        let id = if config.settings.contains_key("listen") { "listen" } else { "token_file" };
        wrong(id, &format!("api.{id}"), error);
    }
    #[cfg(feature = "webhook")]
    if config.hooks.is_empty() {
        let hooks = args.webhooks.configs();
        let read =
            hooks.and_then(|hooks| hooks.iter().try_for_each(|hook| Hook::new(hook).map(|_| ())));
        if let Err(error) = read {
            wrong("webhook", "webhook", error);
        }
    }
    mistakes
}

/// The error without the key's name before it.
#[cfg(any(feature = "api", feature = "webhook"))]
#[must_use]
pub fn told(key: &str, error: &anyhow::Error) -> String {
    let said = format!("{error:#}");
    said.strip_prefix(key).and_then(|rest| rest.strip_prefix(": ")).unwrap_or(&said).to_owned()
}

fn is_typed(setting: &Setting) -> bool {
    matches!(setting.origin, Origin::Flag(_))
}

fn named<'a>(keys: &'a [Key], id: &str) -> Option<&'a Key> {
    keys.iter().find(|key| key.id == id)
}

/// That this other option is set too.
fn conflict(config: &Config, keys: &[Key], id: &str) -> Option<String> {
    let (key, other) = (named(keys, id)?, config.settings.get(id)?);
    let is_on = !key.arguments(&other.values).is_empty();
    is_on.then(|| format!("it excludes {} ({}); take one of them out", key.path(), other.origin))
}

/// What keeps a file from being used.
fn unfit(path: &Path, is_secret: bool) -> Option<String> {
    let shown = path.display();
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Some(format!("there is no file {shown}"))
        }
        Err(error) => Some(format!("{shown} can't be looked at: {error}")),
        Ok(metadata) if metadata.is_dir() => Some(format!("{shown} is a folder; name a file")),
        Ok(metadata) if is_secret && metadata.permissions().mode() & 0o007 != 0 => {
            Some(format!("{shown} holds a secret, and everybody can read it: chmod o-rwx {shown}"))
        }
        Ok(_) => fs::File::open(path).err().map(|error| unreadable(path, &error)),
    }
}

/// Why a file that is there can't be opened. Landlock refuses what the file's rights allow.
fn unreadable(path: &Path, error: &std::io::Error) -> String {
    let shown = path.display();
    if error.kind() != std::io::ErrorKind::PermissionDenied {
        return format!("{shown} can't be read: {error}");
    }
    if rustix::fs::access(path, rustix::fs::Access::READ_OK).is_ok() {
        let folder = path.parent().unwrap_or(path).display();
        return format!(
            "the sandbox keeps {shown} from being read: {folder} was not among the folders that the \
             configuration named at the start; restart xdpwatch, or put the file into /etc/xdpwatch"
        );
    }
    format!(
        "the rights of {shown} keep it from being read: let the user that xdpwatch runs as read it"
    )
}

/// Addresses under other names need a key, from a file that is named or in the evidence folder.
fn redaction(config: &Config, mistakes: &mut Vec<Mistake>) {
    let Some(setting) = config.settings.get("redact").filter(|setting| !is_typed(setting)) else {
        return;
    };
    let has_key = ["redact_key", "evidence_dir"].iter().any(|id| config.settings.contains_key(*id));
    if setting.values.first().is_some_and(|value| value == "true") && !has_key {
        let what = "it needs a key: set evidence.redact_key (the file is made if it is not there)";
        let (at, key) = (setting.origin.clone(), "evidence.redact".to_owned());
        mistakes.push(Mistake { at, key, what: what.to_owned() });
    }
}

/// One interface twice; where two are to be compared it is said elsewhere what is meant.
fn interfaces(config: &Config, mistakes: &mut Vec<Mistake>) {
    let Some(Setting { values, origin, .. }) = config.settings.get("iface") else { return };
    let compares = config.settings.get("compare").is_some_and(|said| said.values == ["true"]);
    if let Some(n) = (1..values.len()).find(|n| values[..*n].contains(&values[*n]))
        && !compares
    {
        let what = format!("interface {} is given twice: leave one of them out", values[n]);
        mistakes.push(Mistake { at: origin.clone(), key: "input.iface".to_owned(), what });
    }
}

/// Hooks with the files that they name.
#[cfg(feature = "webhook")]
fn hooks(config: &Config, mistakes: &mut Vec<Mistake>) {
    for table in &config.hooks.tables {
        let before = mistakes.len();
        for (key, path, is_secret) in table.files() {
            let wrong = |what| Mistake { at: table.at(key), key: format!("webhook.{key}"), what };
            mistakes.extend(unfit(&path, is_secret).map(wrong));
        }
        if mistakes.len() == before && table.is_sound {
            mistakes.extend(table.read().err());
        }
    }
}
