//! What the kernel refuses this process from now on: files, by Landlock, and system calls, by
//! seccomp. It concerns the calling thread and those that it starts later.

use std::fmt;

use anyhow::Context;
use landlock::{
    ABI, Access, AccessFs, BitFlags, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    make_bitflags, path_beneath_rules,
};

use super::{Paths, calls};

/// The newest rights over files that are refused where nothing allows them; older kernels know fewer.
const KNOWN: ABI = ABI::V5;

/// How far one of both is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Force {
    Full,
    /// This kernel knows a part of it.
    Partly,
    Not(&'static str),
}

/// What is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    files: Force,
    calls: Force,
}

impl Sandbox {
    /// Nothing is refused.
    #[must_use]
    pub fn off() -> Self {
        Self { files: Force::Not("--sandbox off"), calls: Force::Not("--sandbox off") }
    }

    /// Refuses from now on whatever is not in `paths` or not among the system calls of a sensor, as
    /// far as this kernel can. A call that is not among them ends the process (SIGSYS).
    ///
    /// # Errors
    /// The kernel's; a kernel that lacks either is none.
    pub fn enter(paths: &Paths) -> anyhow::Result<Self> {
        let files = limit_files(paths).context("limiting files (Landlock); see --sandbox off")?;
        let calls = match calls::limit().context("limiting calls (seccomp); see --sandbox off")? {
            true => Force::Full,
            false => Force::Not("no list for this processor"),
        };
        Ok(Self { files, calls })
    }

    /// What is not in force, and why.
    #[must_use]
    pub fn not_in_force(&self) -> Option<String> {
        let mut missing = Vec::new();
        for (name, force) in [("Landlock", &self.files), ("seccomp", &self.calls)] {
            if let Force::Not(why) = force {
                missing.push(format!("{name} ({why})"));
            }
        }
        (!missing.is_empty()).then(|| missing.join(", "))
    }
}

impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (name, force)) in
            [("Landlock", &self.files), ("seccomp", &self.calls)].into_iter().enumerate()
        {
            let gap = if n > 0 { ", " } else { "" };
            match force {
                Force::Full => write!(f, "{gap}{name} in force")?,
                Force::Partly => write!(f, "{gap}{name} in force as far as this kernel knows it")?,
                Force::Not(why) => write!(f, "{gap}{name} NOT in force ({why})")?,
            }
        }
        Ok(())
    }
}

fn limit_files(paths: &Paths) -> anyhow::Result<Force> {
    let read: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let write = read
        | make_bitflags!(AccessFs::{
            WriteFile | Truncate | MakeReg | RemoveFile | MakeDir | RemoveDir | Refer
        });
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .create()?
        .add_rules(path_beneath_rules(&paths.read, read))?
        .add_rules(path_beneath_rules(&paths.write, write))?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Force::Full,
        RulesetStatus::PartiallyEnforced => Force::Partly,
        RulesetStatus::NotEnforced => Force::Not("this kernel has it not, or not switched on"),
    })
}
