//! A mistake in a configuration: where it is, at which key, and what to write instead.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a value was said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// In a file, on this line; 0 stands for the whole file.
    File(Arc<PathBuf>, usize),
    /// In this environment variable.
    Environment(String),
    /// On the command line, by the option's long name.
    Flag(String),
    /// On the command line, and no option's long name.
    Argument(String),
    /// Nowhere.
    Default,
}

impl Origin {
    /// Whether both are in one file.
    #[must_use]
    pub fn is_of_same_file(&self, other: &Self) -> bool {
        matches!((self, other), (Self::File(one, _), Self::File(another, _)) if one == another)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, 0) => write!(f, "{}", path.display()),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::Flag(long) => write!(f, "flag --{long}"),
            Self::Argument(word) => write!(f, "argument {word}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Where.
    pub at: Origin,
    /// The key, or nothing where it is none's.
    pub key: String,
    /// What is wrong and what to do.
    pub what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}: {}", self.at, self.what),
            key => write!(f, "{}: {key}: {}", self.at, self.what),
        }
    }
}

/// Lines of a file by the places of their bytes.
pub struct Lines {
    path: Arc<PathBuf>,
    begins: Vec<usize>,
}

impl Lines {
    /// Those of this text.
    #[must_use]
    pub fn new(path: &Path, text: &str) -> Self {
        let ends = text.match_indices('\n').map(|(end, _)| end + 1);
        Self { path: Arc::new(path.to_owned()), begins: std::iter::once(0).chain(ends).collect() }
    }

    /// The line that holds this byte.
    #[must_use]
    pub fn at(&self, byte: usize) -> Origin {
        let line = self.begins.partition_point(|begin| *begin <= byte);
        Origin::File(Arc::clone(&self.path), line)
    }
}

/// A hint at the name that was meant, if one is near enough.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |known: &str| strsim::jaro_winkler(name, known);
    let best = known.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) >= 0.7).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one() {
        let lines = Lines::new(Path::new("f"), "a\nb\n\nc");
        let at = |byte| lines.at(byte).to_string();
        assert_eq!([at(0), at(1), at(2), at(4), at(5)], ["f:1", "f:1", "f:2", "f:3", "f:4"]);
    }

    #[test]
    fn what_was_meant_is_found_or_nothing() {
        let known = || ["max_tuples", "horizon", "batch"].into_iter();
        assert_eq!(nearest("max_tupels", known()), Some("max_tuples"));
        assert_eq!(nearest("colour", known()), None);
    }
}
