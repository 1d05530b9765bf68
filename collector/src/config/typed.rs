//! The command line as it was typed: which options it gives itself, and where it is read again behind
//! what files and environment say.

use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, FromArgMatches};

use super::keys::{self, Key, Kind};
use super::mistake::{Mistake, Origin};
use super::{Config, Failure, Setting, flags};
use crate::args::Args;

/// Options that only live capture has: reading files goes on without what a file says of them.
const LIVE_ONLY: [&str; 4] = ["iface", "duration", "stats_interval", "write"];

/// Subcommands that files have a say in.
const WITH_FILES: [&str; 3] = ["doctor", "explain", "webhook"];

/// The command line as it was typed.
pub struct Typed {
    argv: Vec<OsString>,
    /// Options of the kind true or false that were turned off: `--json=false`.
    off: Vec<String>,
    top: ArgMatches,
    /// The subcommand and those below it.
    pub names: Vec<String>,
}

impl Typed {
    /// Reads it as far as that goes without files.
    ///
    /// # Errors
    /// It is wrong, or asks for help.
    pub fn read(argv: &[OsString], keys: &[Key]) -> Result<Self, Failure> {
        let (off, argv) = turned_off(&subcommand_first(argv), keys);
        let top = match keys::command().try_get_matches_from(&argv) {
            // What is missing here may be in a file: the second look decides.
            Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => {
                keys::command().ignore_errors(true).try_get_matches_from(&argv)
            }
            // The help says what must be there.
            Err(error) if error.kind() == ErrorKind::DisplayHelp => {
                Args::whole_command().try_get_matches_from(&argv)
            }
            result => result,
        };
        let top = top.map_err(|error| Failure::Usage(with_flag(for_files(error, &argv, keys))))?;
        let mut names = Vec::new();
        let mut matches = &top;
        while let Some((name, below)) = matches.subcommand() {
            names.push(name.to_owned());
            matches = below;
        }
        Ok(Self { argv, off, top, names })
    }

    /// Reads it and, if it asks for a check, goes on behind its mistakes: they are left out of it.
    ///
    /// # Errors
    /// It is wrong where no check is asked for, or asks for help.
    pub fn read_on(argv: &[OsString], keys: &[Key]) -> Result<(Self, Vec<Mistake>), Failure> {
        let failure = match Self::read(argv, keys) {
            Ok(typed) => return Ok((typed, Vec::new())),
            Err(failure) => failure,
        };
        let (rest, mistakes) = flags::left_out(argv, keys);
        match Self::read(&rest, keys) {
            Ok(typed) if typed.is_test() => Ok((typed, mistakes)),
            _ => Err(failure),
        }
    }

    /// Those of the innermost subcommand.
    pub fn matches(&self) -> &ArgMatches {
        let mut matches = &self.top;
        while let Some((_, below)) = matches.subcommand() {
            matches = below;
        }
        matches
    }

    /// Whether files have a say.
    pub fn wants_files(&self) -> bool {
        self.names.first().is_none_or(|name| WITH_FILES.contains(&name.as_str()))
    }

    fn is_explicit(&self, id: &str) -> bool {
        let matches = self.matches();
        matches.ids().any(|known| known == id)
            && matches.value_source(id) == Some(ValueSource::CommandLine)
    }

    /// Whether capture files are read.
    pub fn reads_captures(&self) -> bool {
        self.names.is_empty() && self.is_explicit("read")
    }

    /// Whether all is only to be checked.
    pub fn is_test(&self) -> bool {
        self.names.is_empty() && self.top.get_flag("test_config")
    }

    /// What was said here.
    pub fn settings(&self, keys: &[Key]) -> Vec<Setting> {
        let mut settings = Vec::new();
        for key in keys {
            let values = if self.off.contains(&key.id) {
                vec!["false".to_owned()]
            } else if !self.is_explicit(&key.id) {
                continue;
            } else if key.kind == Kind::Count {
                vec![self.matches().get_count(&key.id).to_string()]
            } else {
                let raw = self.matches().get_raw(&key.id).into_iter().flatten();
                let raw: Vec<_> = raw.map(|value| value.to_string_lossy().into_owned()).collect();
                if key.kind == Kind::Flag { vec!["true".to_owned()] } else { raw }
            };
            let origin = Origin::Flag(key.long.clone());
            settings.push(Setting { id: key.id.clone(), values, origin });
        }
        settings
    }

    /// Reads it again behind what files and environment say.
    ///
    /// # Errors
    /// It is wrong.
    pub fn parse(&self, config: &Config, keys: &[Key]) -> Result<Args, Failure> {
        let mut command = if self.is_test() { keys::command() } else { Args::whole_command() };
        let mut below = &command;
        for name in &self.names {
            below = below.find_subcommand(name).unwrap_or(below);
        }
        let added = keys.iter().filter_map(|key| {
            let setting = config.settings.get(&key.id)?;
            let arg = below.get_arguments().find(|arg| arg.get_id() == key.id.as_str())?;
            // JSON in a file is about events, not about what a subcommand says.
            let is_other = !self.names.is_empty() && key.id == "json";
            if matches!(setting.origin, Origin::Flag(_)) || is_other {
                return None;
            }
            // A subcommand may take one value where watching takes several.
            let takes_all = matches!(arg.get_action(), ArgAction::Append) || !key.is_list;
            let count = if takes_all { setting.values.len() } else { 1 };
            Some(key.arguments(setting.values.get(..count)?))
        });
        // Behind the command's name, or those of subcommands, which come first.
        let place = (1 + self.names.len()).min(self.argv.len());
        let mut argv = self.argv[..place].to_vec();
        argv.extend(added.flatten());
        argv.extend_from_slice(&self.argv[place..]);
        let matches = command.try_get_matches_from_mut(argv).map_err(Failure::Usage)?;
        Args::from_arg_matches(&matches).map_err(Failure::Usage)
    }
}

/// `--lang zh explain paws` as `explain --lang zh paws`: the parser takes no option before a subcommand,
/// and these are the ones that those have too.
fn subcommand_first(argv: &[OsString]) -> Vec<OsString> {
    let word = |at: usize| argv.get(at).and_then(|word| word.to_str()).unwrap_or_default();
    let mut begin = 1;
    loop {
        begin += match word(begin).split_once('=').map_or(word(begin), |(name, _)| name) {
            "--lang" | "--config" if word(begin).contains('=') => 1,
            "--lang" | "--config" => 2,
            _ => break,
        };
    }
    let command = keys::command();
    let (mut end, mut below) = (begin, &command);
    while let Some(next) = below.find_subcommand(word(end)) {
        (end, below) = (end + 1, next);
    }
    let mut argv = argv.to_vec();
    if end > begin {
        argv[1..end].rotate_left(begin - 1);
    }
    argv
}

/// Where options of live capture were given with `-r`, the error names those instead of all there are.
fn for_files(error: clap::Error, argv: &[OsString], keys: &[Key]) -> clap::Error {
    let lenient = keys::command().ignore_errors(true).try_get_matches_from(argv);
    let Some(matches) = lenient.ok().filter(|_| error.kind() == ErrorKind::ArgumentConflict) else {
        return error;
    };
    let is_typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let live = keys.iter().filter(|key| is_live_only(key) && is_typed(&key.id));
    let live: Vec<_> = live.map(|key| format!("--{}", key.long)).collect();
    if live.is_empty() || !is_typed("read") {
        return error;
    }
    let (verb, cure) = if live.len() == 1 { ("is", "it") } else { ("are", "them") };
    let what = format!("{} {verb} for live capture: leave {cure} out with -r\n", live.join(", "));
    clap::Error::raw(ErrorKind::ArgumentConflict, what)
}

/// A file or an interface without its flag is taken for a subcommand: the error names the flag.
fn with_flag(mut error: clap::Error) -> clap::Error {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return error;
    };
    let near = error.get(ContextKind::SuggestedSubcommand);
    let is_near = matches!(near, Some(ContextValue::Strings(names)) if !names.is_empty());
    if is_near || keys::command().find_subcommand(word).is_some() {
        return error;
    }
    let before = error.get(ContextKind::PriorArg).map(ToString::to_string).unwrap_or_default();
    let tip = if before.contains("--read") {
        format!("give -r before each file: -r {word}")
    } else if cfg!(feature = "xdp") {
        format!("to read a capture: -r {word}; to watch an interface: -i {word}")
    } else {
        format!("to read a capture: -r {word}")
    };
    let tip = ContextValue::StyledStrs(vec![StyledStr::from(tip)]);
    error.insert(ContextKind::Suggested, tip);
    error
}

/// Whether reading files goes without it.
pub fn is_live_only(key: &Key) -> bool {
    LIVE_ONLY.contains(&key.id.as_str()) || ["live", "rights"].contains(&key.section.as_str())
}

/// Takes `--json=false` out of the command line: there it is how one turns off what a file turns on.
pub fn turned_off(argv: &[OsString], keys: &[Key]) -> (Vec<String>, Vec<OsString>) {
    if argv.get(1).is_some_and(|first| first == "config") {
        // What follows is for another look.
        return (Vec::new(), argv.to_vec());
    }
    let mut off = Vec::new();
    let rest = argv.iter().filter(|arg| {
        let long = arg.to_str().and_then(|arg| arg.strip_prefix("--")?.strip_suffix("=false"));
        let flag = long
            .and_then(|long| keys.iter().find(|key| key.kind == Kind::Flag && key.long == long));
        off.extend(flag.map(|key| key.id.clone()));
        flag.is_none()
    });
    let rest = rest.cloned().collect();
    (off, rest)
}
