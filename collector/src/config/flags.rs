//! Every mistake of a command line, for `-T`. The parser stops at the first; here what it complains of is
//! taken out and the rest is looked at again, until nothing is left to complain of.

use std::ffi::OsString;
use std::ops::Range;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::keys::{self, Key};
use super::mistake::{Mistake, Origin};
use super::typed::turned_off;

/// The command line without what is wrong in it, and what that is. It is no look at what is missing:
/// files may have it.
pub fn left_out(argv: &[OsString], keys: &[Key]) -> (Vec<OsString>, Vec<Mistake>) {
    let (mut argv, mut mistakes) = (argv.to_vec(), Vec::new());
    loop {
        let (_, plain) = turned_off(&argv, keys);
        let Err(error) = keys::command().try_get_matches_from(&plain) else { break };
        let Some((at, place)) = culprit(&argv, &error) else { break };
        mistakes.push(Mistake { at, key: String::new(), what: said(&error) });
        argv.drain(place);
    }
    (argv, mistakes)
}

/// What the error is about and where that stands; `None` where nothing that was given is wrong.
fn culprit(argv: &[OsString], error: &clap::Error) -> Option<(Origin, Range<usize>)> {
    let named = text(error, ContextKind::InvalidArg)
        .or_else(|| text(error, ContextKind::InvalidSubcommand))?;
    let named = named.split([' ', '=', '[']).next()?;
    let value = text(error, ContextKind::InvalidValue).filter(|value| !value.is_empty());
    let long = named.trim_start_matches('-');
    let origin = match named.strip_prefix("--") {
        Some(long) => Origin::Flag(long.to_owned()),
        None => Origin::Argument(named.to_owned()),
    };
    let command = keys::command();
    let short = command.get_arguments().find(|arg| arg.get_long() == Some(long));
    let short = short.and_then(clap::Arg::get_short).map(|short| format!("-{short}"));
    let is_flag = |word: &str| word.len() > 1 && word.starts_with('-');
    for (at, word) in argv.iter().enumerate().skip(1) {
        let (word, next) = (word.to_str()?, argv.get(at + 1).and_then(|next| next.to_str()));
        // `--name=value`, `-nvalue`, or the name alone.
        let rest = word.strip_prefix(named).and_then(|rest| match rest.strip_prefix('=') {
            None if !rest.is_empty() => None,
            given => Some(given),
        });
        let short = short.as_deref().and_then(|short| word.strip_prefix(short));
        let short = short.map(|given| Some(given).filter(|given| !given.is_empty()));
        let Some(given) = rest.or(short) else { continue };
        let is_it = |given: &str| value.is_none_or(|value| value == given);
        match (given, next) {
            (Some(given), _) if is_it(given) => return Some((origin, at..at + 1)),
            // What follows an unknown flag is most likely its value.
            (None, Some(next)) if is_flag(word) && !is_flag(next) && is_it(next) => {
                return Some((origin, at..at + 2));
            }
            (None, _) if value.is_none() => return Some((origin, at..at + 1)),
            _ => {}
        }
    }
    None
}

/// What the parser tells of this kind, if it is one text.
fn text(error: &clap::Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text),
        _ => None,
    }
}

/// What is wrong, in the words that files get of it, or the parser's own.
fn said(error: &clap::Error) -> String {
    if text(error, ContextKind::InvalidValue) == Some("") {
        return "its value is missing".to_owned();
    }
    if let Some(said) = keys::said(error) {
        return said;
    }
    if error.kind() == ErrorKind::UnknownArgument {
        let meant = text(error, ContextKind::SuggestedArg);
        let meant = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
        return format!("there is no such flag{meant}");
    }
    let text = error.to_string();
    let what = text.lines().take_while(|line| !line.is_empty()).map(str::trim);
    what.collect::<Vec<_>>().join(" ").trim_start_matches("error: ").to_owned()
}
