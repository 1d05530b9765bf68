//! `[[webhook]]` tables: each key judged by itself, then the hook as a whole.

use toml::de::DeTable;

#[cfg(feature = "webhook")]
use super::check::told;
#[cfg(feature = "webhook")]
use super::hook_keys::{self, HookKey};
use super::mistake::{Lines, Mistake, Origin};
#[cfg(feature = "webhook")]
use crate::webhook::config::{Hook, WebhookConfig};

/// One table.
#[cfg(feature = "webhook")]
#[derive(Clone, Debug)]
pub struct Table {
    /// What it says.
    pub config: WebhookConfig,
    /// Where it begins.
    pub at: Origin,
    /// Where each of its keys stands.
    pub keys: Vec<(&'static HookKey, Origin)>,
    /// Whether nothing is wrong with it so far.
    pub is_sound: bool,
}

/// The tables of all files, in order.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    /// They.
    #[cfg(feature = "webhook")]
    pub tables: Vec<Table>,
}

#[cfg(feature = "webhook")]
impl Hooks {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// Whether these hooks say the same, wherever it stands.
    #[must_use]
    pub fn are(&self, others: &Self) -> bool {
        let (own, others) = (self.tables.iter(), others.tables.iter());
        own.map(|table| &table.config).eq(others.map(|table| &table.config))
    }

    /// Takes a table. One with the name of another file's stands in its place; two of one file are a
    /// mistake.
    pub fn add(
        &mut self,
        table: &DeTable<'_>,
        at: Origin,
        lines: &Lines,
        mistakes: &mut Vec<Mistake>,
    ) {
        let before = mistakes.len();
        let config = WebhookConfig::default();
        let mut hook = Table { config, at, keys: Vec::new(), is_sound: false };
        for (name, value) in table {
            let at = lines.at(name.span().start);
            let name: &str = name.get_ref();
            let mistake = |at, what| Mistake { at, key: format!("webhook.{name}"), what };
            let Some(key) = hook_keys::KEYS.iter().find(|key| key.name == name) else {
                mistakes.push(mistake(at, hook_keys::unknown(name)));
                continue;
            };
            hook.keys.push((key, at));
            if let Err((span, what)) = (key.set)(&mut hook.config, value) {
                mistakes.push(mistake(lines.at(span.start), what));
            }
        }
        if mistakes.len() == before {
            hook.check(mistakes);
        }
        hook.is_sound = mistakes.len() == before;
        let same_name = |other: &Table| other.config.name == hook.config.name;
        match hook.config.name.is_some().then(|| self.tables.iter().position(same_name)).flatten() {
            Some(place) if self.tables[place].at.is_of_same_file(&hook.at) => {
                let (at, earlier) = (hook.at("name"), self.tables[place].at("name"));
                let what = format!("{earlier} has the same name; give each webhook its own");
                mistakes.push(Mistake { at, key: "webhook.name".to_owned(), what });
            }
            Some(place) => self.tables[place] = hook,
            None => self.tables.push(hook),
        }
    }
}

#[cfg(not(feature = "webhook"))]
impl Hooks {
    /// There is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        true
    }

    /// There are none.
    #[must_use]
    pub fn are(&self, _others: &Self) -> bool {
        true
    }

    /// Says that nothing can be done with it.
    pub fn add(
        &mut self,
        _table: &DeTable<'_>,
        at: Origin,
        _lines: &Lines,
        mistakes: &mut Vec<Mistake>,
    ) {
        let what = "this xdpwatch was built without webhooks".to_owned();
        mistakes.push(Mistake { at, key: "webhook".to_owned(), what });
    }
}

#[cfg(feature = "webhook")]
impl Table {
    /// Where this key stands, or else the table begins.
    #[must_use]
    pub fn at(&self, name: &str) -> Origin {
        let key = self.keys.iter().find(|(key, _)| key.name == name);
        key.map_or(&self.at, |(_, at)| at).clone()
    }

    /// What is wrong with it as a whole. The files that it names are looked at elsewhere.
    fn check(&self, mistakes: &mut Vec<Mistake>) {
        let mut wrong = |key: &str, what: String| {
            mistakes.push(Mistake { at: self.at(key), key: format!("webhook.{key}"), what });
        };
        if self.config.url.is_empty() {
            let what = "it has none; give url = \"https://host/path\", or \"@FILE\" where a secret is in it";
            wrong("url", what.to_owned());
        }
        if self.config.secret_file.is_some() && self.config.secret_env.is_some() {
            wrong("secret_env", "secret_file is there too; give one of them".to_owned());
        }
    }

    /// The files that the hook names and whether they hold secrets, each with its key.
    #[must_use]
    pub fn files(&self) -> Vec<(&'static str, std::path::PathBuf, bool)> {
        let config = &self.config;
        let url = config.url.strip_prefix('@').map(std::path::PathBuf::from);
        [
            ("url", url, true),
            ("secret_file", config.secret_file.clone(), true),
            ("headers_file", config.headers_file.clone(), true),
            ("ca_file", config.ca_file.clone(), false),
            ("template", config.template.clone(), false),
        ]
        .into_iter()
        .filter_map(|(key, file, is_secret)| Some((key, file?, is_secret)))
        .collect()
    }

    /// What only reading everything that it names shows.
    ///
    /// # Errors
    /// What is wrong with the hook.
    pub fn read(&self) -> Result<(), Mistake> {
        let wrong = |error: anyhow::Error| Mistake {
            at: self.at.clone(),
            key: "webhook".to_owned(),
            what: told("webhook", &error),
        };
        Hook::new(&self.config).map(|_| ()).map_err(wrong)
    }
}
