//! `xdpwatch generate`, for whoever makes packages: manual pages and shells' completions, from the
//! command line as it is defined.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;

use crate::args::Args;
use crate::log::complain;

/// What is to be made, and where.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Folder for the files; made if it is not there
    pub dir: PathBuf,
}

/// Does it.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    match generate(&options.dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes `xdpwatch.1` with a page for each subcommand, and a completion for each shell.
fn generate(dir: &Path) -> anyhow::Result<()> {
    let what = || format!("writing to {}", dir.display());
    std::fs::create_dir_all(dir).with_context(what)?;
    clap_mangen::generate_to(Args::command(), dir).with_context(what)?;
    for shell in Shell::value_variants() {
        clap_complete::generate_to(*shell, &mut Args::command(), "xdpwatch", dir)
            .with_context(what)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_and_subcommand_is_in_the_pages_and_completions() {
        let dir = tempfile::tempdir().unwrap();
        generate(dir.path()).unwrap();
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        let (page, fish) = (read("xdpwatch.1"), read("xdpwatch.fish"));
        for name in ["xdpwatch.bash", "_xdpwatch", "xdpwatch-explain.1"] {
            assert!(read(name).contains("xdpwatch"), "{name}");
        }
        let command = Args::command();
        for option in command.get_arguments().filter_map(clap::Arg::get_long) {
            assert!(page.contains(&option.replace('-', r"\-")), "{option}");
            assert!(fish.contains(&format!("-l {option}")), "{option}");
        }
        for sub in command.get_subcommands() {
            assert_eq!(page.contains(sub.get_name()), !sub.is_hide_set(), "{}", sub.get_name());
        }
    }
}
