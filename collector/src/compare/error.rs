//! Why two captures can't be compared, each with its cure.

use std::fmt;

use crate::capture::file::FileError;

/// Why two captures can't be compared.
#[derive(Debug)]
pub enum CompareError {
    /// A file can't be read.
    File(String, FileError),
    /// No segment is in both.
    NothingInCommon,
    /// None is, but with other addresses some would be.
    Translated(usize),
    /// The clocks are too far apart, nanoseconds.
    TooFarApart(u64),
    /// The differences scatter too much, nanoseconds.
    Scattered(u64),
}

impl fmt::Display for CompareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name, error) => write!(f, "{name}: {error}"),
            Self::NothingInCommon => f.write_str(
                "the two captures have nothing in common: no segment with the same ends, numbers \
                 and length is in both; give two captures of the same connections at the same time",
            ),
            Self::Translated(count) => write!(
                f,
                "the two captures have no segment in common, but {count} would be the same with \
                 other addresses: address translation lies between the points, which --compare does \
                 not see through; capture the same leg on both sides"
            ),
            Self::TooFarApart(ns) => write!(
                f,
                "the clocks differ by {} s, more than a day: set one right, for example with \
                 `editcap -t`, or give captures of the same time",
                ns / 1_000_000_000
            ),
            Self::Scattered(ns) => write!(
                f,
                "the time between both sightings of a segment scatters by {} s: these are not two \
                 captures of the same traffic, or a clock was set meanwhile; cut the captures there",
                ns / 1_000_000_000
            ),
        }
    }
}

impl std::error::Error for CompareError {}
