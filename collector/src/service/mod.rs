//! What a sensor gives up before it opens anything, and what it tells the service manager.
//!
//! Rights are dropped before the first thread starts, the interface and every file included: what the
//! start can do, a reload and a re-attachment can do too, and every thread inherits the same.

pub mod args;
mod calls;
mod capabilities;
mod files;
pub mod notify;
pub mod sandbox;
mod user;

use std::fmt;

use anyhow::{Context, ensure};

use crate::args::Args;
use args::Choice;
pub use files::Paths;
pub use sandbox::Sandbox;

/// What a sensor is left with.
#[derive(Clone, Debug)]
pub struct Rights {
    user: String,
    capabilities: Vec<&'static str>,
    sandbox: Sandbox,
}

impl Rights {
    /// What was asked for, or is usual, and is not in force; with the reason.
    #[must_use]
    pub fn not_in_force(&self) -> Option<String> {
        self.sandbox.not_in_force()
    }
}

impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "running as {}", self.user)?;
        match self.capabilities.as_slice() {
            [] => f.write_str(" with the capabilities that it was started with")?,
            some => write!(f, " with {}", some.join(", "))?,
        }
        write!(f, "; {}", self.sandbox)
    }
}

/// Becomes the user that was chosen, keeps only what capturing needs, and shuts itself in.
///
/// # Errors
/// The user, a folder or a file can't be had, with the cure; or threads were started before.
pub fn confine(args: &Args) -> anyhow::Result<Rights> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    ensure!(threads == 1, "rights were to be dropped before the first thread; this is a defect");
    let person = user::choose(args.rights.user.as_deref())?;
    let paths = Paths::of(args);
    paths.prepare(person.as_ref())?;
    let capabilities = capabilities::reduce(person.as_ref()).context(
        "dropping rights; start it with the capabilities alone, or keep root's with --user root",
    )?;
    if let Some(person) = &person {
        paths.check(&person.name)?;
    }
    let sandbox = match args.rights.sandbox {
        Choice::On => Sandbox::enter(&paths)?,
        Choice::Off => Sandbox::off(),
    };
    Ok(Rights { user: user::current(), capabilities, sandbox })
}
