//! Wrong usage that only shows when what was asked for begins: it ends with another status than a failure, so that
//! a service manager does not try the same again.

use std::fmt;

/// Status of the process.
pub const STATUS: u8 = 2;

/// What is wrong with how the command was called, and the cure.
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Whether the error is of this kind.
#[must_use]
pub fn is_usage(error: &anyhow::Error) -> bool {
    error.chain().any(<dyn std::error::Error>::is::<Usage>)
}

/// The same error as one of this kind: what was asked for can't be begun.
#[cfg(feature = "webhook")]
#[must_use]
pub fn wrong(error: anyhow::Error) -> anyhow::Error {
    Usage(format!("{error:#}")).into()
}
