//! Tuples that are still held, in a file from one run to the next, so that a restart loses no collision
//! whose first connection closed before it.
//!
//! What is kept is the flow tables. Contests under way, windows of rules that count, groups and the
//! census are not: contests and groups are ended in order before, the rest fills again.

mod blocks;
mod loader;
mod place;
mod saver;
pub mod scale;
#[cfg(test)]
mod tests;

pub use loader::{Loaded, Refused, load};
pub use place::misuse;
pub use saver::Saver;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};

/// The version of the file around the words of [`xdpwatch_core::saved`].
const VERSION: u64 = 1;

/// Options about it.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Live capture")]
pub struct StateArgs {
    /// Keep tuples that are still held in this file from one run to the next: written on SIGTERM and
    /// SIGINT, read at the start
    #[arg(long, value_name = "FILE", conflicts_with = "read")]
    pub state_file: Option<PathBuf>,
    /// Do not read a state file that is older than this [default: --horizon]
    #[arg(long, value_name = "TIME", value_parser = crate::value_args::duration, requires = "state_file")]
    pub state_max_age: Option<Duration>,
}

/// The first block: what the rest is to be read with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The time scale of the flows' times.
    pub scale: scale::Scale,
    /// When it was written, on that scale, nanoseconds.
    pub written_ns: u64,
    /// Whether VLAN ids are part of the tuples.
    pub vlan_key: bool,
}

impl Head {
    fn to_json(&self) -> Value {
        json!({
            "version": VERSION,
            "words": xdpwatch_core::saved::VERSION,
            "boot": self.scale.boot,
            "offset_ns": self.scale.offset_ns,
            "drift_ns": self.scale.drift_ns,
            "written_ns": self.written_ns,
            "vlan_key": self.vlan_key,
        })
    }

    /// What the object says, if it says all; versions are not looked at.
    fn of_json(object: &Map<String, Value>) -> Option<Self> {
        let scale = scale::Scale {
            boot: object.get("boot")?.as_str()?.to_owned(),
            offset_ns: object.get("offset_ns")?.as_u64()?,
            drift_ns: object.get("drift_ns")?.as_i64()?,
        };
        let written_ns = object.get("written_ns")?.as_u64()?;
        Some(Self { scale, written_ns, vlan_key: object.get("vlan_key")?.as_bool()? })
    }
}
