//! The command line's part about rights.

use clap::ValueEnum;

/// Options about rights.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Rights")]
#[group(conflicts_with = "read")]
pub struct RightsArgs {
    /// Go on as this user, with no rights but those of capturing; `root` or `none` keeps all [default:
    /// xdpwatch, if root starts it and there is such a user]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Whether the kernel refuses it files (Landlock) and system calls (seccomp) that it has no
    /// business with. Files outside /etc that a reload names for the first time can only be read
    /// where an earlier one lay in the same folder; a restart opens other folders
    #[arg(long, value_enum, value_name = "WHETHER", default_value_t = Choice::On)]
    pub sandbox: Choice,
}

/// Whether or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// As far as this kernel can.
    On,
    /// Not at all.
    Off,
}
