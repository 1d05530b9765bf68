//! The keys of a configuration file, made from the command line's options: there is one definition of
//! each, and one parser for its value.

use std::any::TypeId;
use std::ffi::OsString;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, CommandFactory};

use crate::args::Args;

/// Options that say what this one run does: no file has them.
const RUNS_ONLY: [&str; 3] = ["read", "config", "test_config"];

/// Options that describe webhooks on the command line; a file has `[[webhook]]` tables instead.
const HOOKS: [&str; 6] = [
    "webhook",
    "webhook_format",
    "webhook_secret_file",
    "webhook_min_severity",
    "webhook_template",
    "webhook_ca_file",
];

/// Tables whose name is not the help's heading in small letters.
const SECTIONS: [(&str, &str); 3] =
    [("Metrics and API", "api"), ("Live capture", "live"), ("Grouping", "group")];

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// true or false.
    Flag,
    /// How often an option without a value is given.
    Count,
    /// A whole number.
    Number,
    /// A time with its unit in quotes, or a number of seconds.
    Time,
    /// Text in quotes.
    Text,
}

/// One option as a key.
#[derive(Clone, Debug)]
pub struct Key {
    /// The option's name inside the program.
    pub id: String,
    /// The option on the command line, without dashes.
    pub long: String,
    /// The table it stands in.
    pub section: String,
    /// Its name there.
    pub name: String,
    /// What its value is.
    pub kind: Kind,
    /// Whether it takes an array of values.
    pub is_list: bool,
    /// Whether `[[webhook]]` tables stand for it in files.
    pub is_hook: bool,
    arg: Arg,
}

/// The command line that every key is taken from; whether there is any input is checked later.
#[must_use]
pub fn command() -> Command {
    Args::command().mut_group("input", |group| group.required(false))
}

/// Every key, in the order of the help.
#[must_use]
pub fn keys() -> Vec<Key> {
    let command = command();
    command.get_arguments().filter_map(Key::of).collect()
}

impl Key {
    /// `None` for what no file has.
    fn of(arg: &Arg) -> Option<Self> {
        let (id, long) = (arg.get_id().as_str(), arg.get_long()?);
        if RUNS_ONLY.contains(&id) || ["help", "version"].contains(&id) {
            return None;
        }
        let heading = arg.get_help_heading().unwrap_or("general");
        let section = SECTIONS.iter().find(|(of, _)| *of == heading);
        let section = section.map_or_else(
            || heading.to_lowercase().replace(' ', "_"),
            |(_, section)| (*section).to_owned(),
        );
        // `evidence_dir` is `dir` in [evidence], `webhook_timeout` is `timeout` in [webhooks].
        let prefix = format!("{}_", section.trim_end_matches('s'));
        let whole = long.replace('-', "_");
        Some(Self {
            name: whole.strip_prefix(&prefix).unwrap_or(&whole).to_owned(),
            id: id.to_owned(),
            long: long.to_owned(),
            section,
            kind: Kind::of(arg),
            is_list: matches!(arg.get_action(), ArgAction::Append),
            is_hook: HOOKS.contains(&id),
            arg: arg.clone(),
        })
    }

    /// Table and name: `evidence.dir`.
    #[must_use]
    pub fn path(&self) -> String {
        if self.is_hook {
            return format!("webhook, by --{}", self.long);
        }
        format!("{}.{}", self.section, self.name)
    }

    /// The environment variable that may hold its value.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("XDPWATCH_{}", self.long.replace('-', "_").to_uppercase())
    }

    /// What it is if nobody says anything, as on the command line.
    #[must_use]
    pub fn default(&self) -> Vec<String> {
        match self.kind {
            Kind::Flag => vec!["false".to_owned()],
            Kind::Count => vec!["0".to_owned()],
            _ => self.arg.get_default_values().iter().map(|v| v.to_string_lossy().into()).collect(),
        }
    }

    /// The words it takes, if only those.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let takes_words = !matches!(self.kind, Kind::Flag | Kind::Count);
        let words = self.arg.get_possible_values().into_iter().filter(|_| takes_words);
        words.map(|word| word.get_name().to_owned()).collect()
    }

    /// What the help says of it.
    #[must_use]
    pub fn help(&self) -> String {
        self.arg.get_help().map(ToString::to_string).unwrap_or_default()
    }

    /// What stands for the value in the help: `TIME`.
    #[must_use]
    pub fn value_name(&self) -> &str {
        self.arg.get_value_names().and_then(|names| names.first()).map_or("VALUE", |name| name)
    }

    /// The values as arguments of the command line; none where they say what holds anyway.
    #[must_use]
    pub fn arguments(&self, values: &[String]) -> Vec<OsString> {
        if values == self.default() {
            return Vec::new();
        }
        let option = format!("--{}", self.long);
        match self.kind {
            Kind::Flag => vec![option.into()],
            Kind::Count => {
                let times = values.first().and_then(|value| value.parse().ok()).unwrap_or(0);
                vec![option.into(); times]
            }
            _ => values.iter().map(|value| format!("{option}={value}").into()).collect(),
        }
    }

    /// Whether the command line would take this value.
    ///
    /// # Errors
    /// A sentence that says what is accepted.
    pub fn check(&self, value: &str) -> Result<(), String> {
        match self.kind {
            Kind::Flag if !["true", "false"].contains(&value) => {
                return Err("give true or false".to_owned());
            }
            Kind::Number if value.parse::<i128>().is_err() => {
                return Err(format!("\"{value}\" is not accepted: give a whole number"));
            }
            Kind::Count if !value.parse::<u8>().is_ok_and(|times| times <= 3) => {
                return Err("give a whole number from 0 to 3".to_owned());
            }
            _ => {}
        }
        let arguments = self.arguments(&[value.to_owned()]);
        match command().try_get_matches_from(command_line(arguments)) {
            Err(error) => said(&error).map_or(Ok(()), Err),
            Ok(_) => Ok(()),
        }
    }

    /// The ids of other options without which this one means nothing, as far as they are needed beside
    /// this value.
    #[must_use]
    pub fn needs(&self, values: &[String]) -> Vec<String> {
        let Err(error) = command().try_get_matches_from(command_line(self.arguments(values)))
        else {
            return Vec::new();
        };
        match (error.kind(), error.get(ContextKind::InvalidArg)) {
            (ErrorKind::MissingRequiredArgument, Some(ContextValue::Strings(missing))) => {
                missing.iter().map(|option| id_of(option)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The ids of options that exclude this one.
    #[must_use]
    pub fn conflicts(&self, command: &Command) -> Vec<String> {
        let others = command.get_arg_conflicts_with(&self.arg);
        others.into_iter().map(|other| other.get_id().to_string()).collect()
    }
}

impl Kind {
    fn of(arg: &Arg) -> Self {
        let of = arg.get_value_parser().type_id();
        let numbers =
            [TypeId::of::<u64>(), TypeId::of::<u32>(), TypeId::of::<u16>(), TypeId::of::<u8>()];
        match arg.get_action() {
            ArgAction::SetTrue => Self::Flag,
            ArgAction::Count => Self::Count,
            _ if of == TypeId::of::<Duration>() => Self::Time,
            _ if numbers.iter().any(|number| of == *number) => Self::Number,
            _ => Self::Text,
        }
    }
}

/// These arguments behind the command's name.
fn command_line(arguments: Vec<OsString>) -> impl Iterator<Item = OsString> {
    std::iter::once(OsString::from("xdpwatch")).chain(arguments)
}

/// `--evidence-dir <DIR>` as an id.
fn id_of(option: &str) -> String {
    let long = option.trim_start_matches('-').split(['=', ' ']).next().unwrap_or_default();
    long.replace('-', "_")
}

/// What the command line says of a value that it does not take; `None` if something else is wrong.
pub fn said(error: &clap::Error) -> Option<String> {
    use std::error::Error as _;
    let quoted = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => format!("\"{value}\" is not accepted"),
        _ => "the value is not accepted".to_owned(),
    };
    match error.kind() {
        ErrorKind::ValueValidation => {
            let reason = error.source().map(ToString::to_string).unwrap_or_default();
            Some(format!("{quoted}: {reason}"))
        }
        ErrorKind::InvalidValue => {
            let Some(ContextValue::Strings(words)) = error.get(ContextKind::ValidValue) else {
                return Some(quoted);
            };
            Some(format!("{quoted}: give one of {}", words.join(", ")))
        }
        ErrorKind::InvalidUtf8 => Some(quoted),
        _ => None,
    }
}
