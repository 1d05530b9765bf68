//! Which files there are, and what they say: each key with its line, and every mistake in one go.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Setting;
use super::hooks::Hooks;
use super::keys::{Key, Kind};
use super::mistake::{Lines, Mistake, Origin, nearest};

/// The main file where none is named.
pub const DEFAULT: &str = "/etc/xdpwatch/xdpwatch.toml";

/// The table of a hook.
const HOOK: &str = "webhook";

/// What files say.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// Every key, later files behind earlier ones.
    pub settings: Vec<Setting>,
    /// The webhooks of all files.
    pub hooks: Hooks,
    /// What is wrong.
    pub mistakes: Vec<Mistake>,
    /// The files that were read.
    pub read: Vec<PathBuf>,
}

/// Reads `main`, then the files of the `conf.d` beside it in the order of their names. Where `main` was
/// not named it need not be there.
#[must_use]
pub fn read(main: &Path, is_named: bool, keys: &[Key]) -> Said {
    let mut said = Said::default();
    match fs::read_to_string(main) {
        Ok(text) => said.file(main, &text, keys),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_named => {}
        Err(error) => said.unreadable(main, &error),
    }
    let folder = main.parent().unwrap_or(Path::new("")).join("conf.d");
    let mut paths = match fs::read_dir(&folder) {
        Ok(entries) => entries.filter_map(Result::ok).map(|entry| entry.path()).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            said.unreadable(&folder, &error);
            Vec::new()
        }
    };
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    for path in paths {
        match fs::read_to_string(&path) {
            Ok(text) => said.file(&path, &text, keys),
            Err(error) => said.unreadable(&path, &error),
        }
    }
    said
}

impl Said {
    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        let what = match error.kind() {
            io::ErrorKind::NotFound => "there is no such file".to_owned(),
            io::ErrorKind::InvalidData => "it is not UTF-8".to_owned(),
            _ => format!("it can't be read: {error}"),
        };
        let at = Origin::File(path.to_owned().into(), 0);
        self.mistakes.push(Mistake { at, key: String::new(), what });
    }

    /// Takes what a file says.
    fn file(&mut self, path: &Path, text: &str, keys: &[Key]) {
        self.read.push(path.to_owned());
        let lines = Lines::new(path, text);
        let (table, errors) = DeTable::parse_recoverable(text);
        let before = self.mistakes.len();
        let of_syntax = |error: &toml::de::Error| Mistake {
            at: lines.at(error.span().map_or(0, |span| span.start)),
            key: quoted_key(text, error.span()),
            what: error.message().to_owned(),
        };
        let syntax: Vec<_> = errors.iter().map(of_syntax).collect();
        self.tables(table.get_ref(), &lines, keys);
        // What was made of a line that can't be read is nobody's mistake.
        let mut meaning = self.mistakes.split_off(before);
        meaning.retain(|mistake| syntax.iter().all(|wrong| wrong.at != mistake.at));
        self.mistakes.extend(syntax.into_iter().chain(meaning));
    }

    fn tables(&mut self, table: &DeTable<'_>, lines: &Lines, keys: &[Key]) {
        for (name, value) in table {
            let at = lines.at(name.span().start);
            let name: &str = name.get_ref();
            match value.get_ref() {
                DeValue::Array(hooks)
                    if name == HOOK && hooks.iter().all(|h| h.get_ref().is_table()) =>
                {
                    for hook in hooks.iter() {
                        let DeValue::Table(table) = hook.get_ref() else { continue };
                        let at = lines.at(hook.span().start);
                        self.hooks.add(table, at, lines, &mut self.mistakes);
                    }
                }
                _ if name == HOOK => {
                    let what = "a webhook's table has two brackets: [[webhook]]".to_owned();
                    self.mistakes.push(Mistake { at, key: HOOK.to_owned(), what });
                }
                DeValue::Table(table) => self.section(name, at, table, keys, lines),
                _ => {
                    let what = stray(name, keys);
                    self.mistakes.push(Mistake { at, key: name.to_owned(), what });
                }
            }
        }
    }

    fn section(
        &mut self,
        section: &str,
        at: Origin,
        table: &DeTable<'_>,
        keys: &[Key],
        lines: &Lines,
    ) {
        let is_of = |key: &&Key| key.section == section && !key.is_hook;
        if !keys.iter().any(|key| is_of(&key)) {
            let sections = keys.iter().map(|key| key.section.as_str()).chain([HOOK]);
            let hint = match nearest(section, sections) {
                Some(HOOK) => "; did you mean [[webhook]]?".to_owned(),
                Some(meant) => format!("; did you mean [{meant}]?"),
                None => String::new(),
            };
            let what = format!("there is no such table{hint}");
            self.mistakes.push(Mistake { at, key: format!("[{section}]"), what });
            return;
        }
        for (name, value) in table {
            let at = lines.at(name.span().start);
            let name: &str = name.get_ref();
            let path = format!("{section}.{name}");
            let Some(key) = keys.iter().filter(is_of).find(|key| key.name == name) else {
                let what = unknown(section, name, keys);
                self.mistakes.push(Mistake { at, key: path, what });
                continue;
            };
            match values(key, value, lines) {
                Ok(values) => {
                    self.settings.push(Setting { id: key.id.clone(), values, origin: at })
                }
                Err(wrong) => self.mistakes.extend(wrong.into_iter().map(|(at, what)| Mistake {
                    at,
                    key: path.clone(),
                    what,
                })),
            }
        }
    }
}

/// What is to be said of a key that the table does not have.
fn unknown(section: &str, name: &str, keys: &[Key]) -> String {
    let mut files = keys.iter().filter(|key| !key.is_hook);
    if let Some(key) =
        files.clone().find(|key| key.long.replace('-', "_") == name && key.section == section)
    {
        return format!("there is no such key; did you mean {}?", key.name);
    }
    if let Some(key) = files.find(|key| key.name == name || key.long.replace('-', "_") == name) {
        return format!("it belongs into [{}], as {}", key.section, key.name);
    }
    if keys
        .iter()
        .any(|key| key.is_hook && (key.name == name || key.long.replace('-', "_") == name))
    {
        return "it belongs into a table of the webhook's own, [[webhook]]".to_owned();
    }
    let own = keys.iter().filter(|key| key.section == section && !key.is_hook);
    let hint = nearest(name, own.map(|key| key.name.as_str()));
    let hint = hint.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
    format!("there is no such key{hint}")
}

/// What is to be said of a key outside of all tables.
fn stray(name: &str, keys: &[Key]) -> String {
    let key = keys
        .iter()
        .find(|key| !key.is_hook && (key.name == name || key.long.replace('-', "_") == name));
    if let Some(key) = key {
        return format!("it belongs into [{}], as {}", key.section, key.name);
    }
    let meant = nearest(name, keys.iter().map(|key| key.name.as_str()));
    match keys.iter().find(|key| !key.is_hook && Some(key.name.as_str()) == meant) {
        Some(key) => {
            format!("keys stand in tables; did you mean {} in [{}]?", key.name, key.section)
        }
        None => "keys stand in tables, such as [detection]".to_owned(),
    }
}

/// A value as the command line would have it. Each element of an array is judged by itself.
fn values(
    key: &Key,
    value: &Spanned<DeValue<'_>>,
    lines: &Lines,
) -> Result<Vec<String>, Vec<(Origin, String)>> {
    let elements: Vec<_> = match value.get_ref() {
        DeValue::Array(array) if key.is_list => array.iter().collect(),
        _ => vec![value],
    };
    let (mut values, mut wrong) = (Vec::new(), Vec::new());
    for element in elements {
        let read = scalar(key.kind, element.get_ref());
        match read.and_then(|value| key.check(&value).map(|()| value)) {
            Ok(value) => values.push(value),
            Err(what) => wrong.push((lines.at(element.span().start), what)),
        }
    }
    if wrong.is_empty() { Ok(values) } else { Err(wrong) }
}

/// A single value of this kind.
///
/// # Errors
/// What to write instead.
pub fn scalar(kind: Kind, value: &DeValue<'_>) -> Result<String, String> {
    let wanted = match (kind, value) {
        (Kind::Flag, DeValue::Boolean(is_on)) => return Ok(is_on.to_string()),
        (Kind::Number | Kind::Count | Kind::Time, DeValue::Integer(number)) => {
            let number = i128::from_str_radix(number.as_str(), number.radix());
            return number.map(|number| number.to_string()).map_err(|error| error.to_string());
        }
        (Kind::Time | Kind::Text, DeValue::String(text)) => return Ok(text.to_string()),
        (Kind::Flag, _) => "give true or false, without quotes",
        (Kind::Number | Kind::Count, _) => "give a whole number, without quotes",
        (Kind::Time, _) => "give a time in quotes (\"90s\") or a number of seconds",
        (Kind::Text, _) => "give text in quotes",
    };
    Err(format!("{wanted}, not {}", described(value)))
}

/// What a value of the wrong type is.
fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// The key that an error of the syntax is about: what stands there before an equals sign.
fn quoted_key(text: &str, span: Option<std::ops::Range<usize>>) -> String {
    let Some(start) = span.map(|span| span.start.min(text.len())) else { return String::new() };
    let begin = text[..start].rfind('\n').map_or(0, |end| end + 1);
    let line = text[begin..].lines().next().unwrap_or_default();
    let name = line.split_once('=').map_or("", |(name, _)| name.trim());
    name.to_owned()
}
