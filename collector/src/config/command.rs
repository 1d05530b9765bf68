//! `xdpwatch config`: shows the configuration that counts, and the example; and `-T`, which only checks.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use super::{Failure, Loaded, show};
use crate::log::complain;
use crate::usage;

/// What `xdpwatch config` does.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Action {
    /// Print the configuration as it counts, and where each value comes from; it can be used as a file
    Show {
        /// Options of xdpwatch itself, as they would be given: --config FILE, --iface IF ...
        #[arg(value_name = "OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<OsString>,
    },
    /// Print an example with every key, what it means, and its default
    Example,
}

/// Does it.
#[must_use]
pub fn run(action: &Action, main: Option<&Path>) -> ExitCode {
    let text = match action {
        Action::Example => show::example(),
        Action::Show { options } => {
            let mut argv = vec![OsString::from("xdpwatch"), OsString::from("--test-config")];
            let is_named =
                options.iter().any(|option| option.to_string_lossy().starts_with("--config"));
            if let Some(main) = main.filter(|_| !is_named) {
                argv.extend([OsString::from("--config"), main.into()]);
            }
            argv.extend_from_slice(options);
            match super::load(&argv) {
                Ok(Loaded { config, .. }) => show::effective(&config),
                Err(failure) => return refuse(failure),
            }
        }
    };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("standard output: {error}"));
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Says what is wrong; the exit status is that of wrong usage, or what the help asks for.
pub fn refuse(failure: Failure) -> ExitCode {
    match failure {
        Failure::Usage(error) => {
            // Whoever would read it has gone.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(usage::STATUS))
        }
        Failure::Mistakes(mistakes) => {
            mistakes.iter().for_each(|mistake| complain(&mistake.to_string()));
            ExitCode::from(usage::STATUS)
        }
    }
}

/// Says that nothing is wrong, and what was read.
#[must_use]
pub fn approve(loaded: &Loaded) -> ExitCode {
    let read: Vec<_> = loaded.config.read.iter().map(|path| path.display().to_string()).collect();
    let from = if read.is_empty() { "no file".to_owned() } else { read.join(", ") };
    complain(&format!("the configuration is right: {from}"));
    #[cfg(feature = "xdp")]
    if loaded.args.iface.is_empty() && loaded.args.read.is_empty() {
        complain("note: it names no interface; give --iface when starting, or set input.iface");
    }
    ExitCode::SUCCESS
}
