//! `xdpwatch doctor`: says whether this host and an interface are fit for live capture, each line
//! with its cure. It asks the kernel and changes nothing.
//!
//! [`facts`] gathers plain data; [`judge`] turns them into lines and asks nobody.

mod drivers;
pub mod facts;
mod host;
mod ioctl;
pub mod judge;
pub mod line;
mod netlink;
mod sysfs;

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::json;

use crate::args::{Encap, Mode};
use crate::log::complain;
use crate::xdp::safety::Intent;

use facts::Facts;
use line::{Level, Line};

/// Exit status: 0 fit, warnings or not; 1 something blocks; 2 wrong usage.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The interface to look at
    #[arg(short, long, value_name = "IF")]
    pub iface: String,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// How frames would be captured, as in live capture
    #[arg(long, value_enum, default_value_t = Mode::Afxdp)]
    pub mode: Mode,
    /// The encapsulation in which the mirror arrives, as in live capture
    #[arg(long, value_enum, value_name = "KIND", conflicts_with = "consume")]
    pub encap: Option<Encap>,
    /// The host may lose its traffic, as in live capture
    #[arg(long)]
    pub consume: bool,
}

impl Options {
    fn intent(&self) -> Intent {
        Intent::of(self.mode, self.encap, self.consume)
    }
}

/// Looks, judges and prints; the exit status says whether something blocks.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    let facts = match Facts::gather(&options.iface) {
        Ok(facts) => facts,
        Err(error) => {
            complain(&format!("{error:#}"));
            return ExitCode::FAILURE;
        }
    };
    let lines = judge::judge(&facts, options.intent());
    let mut out = io::stdout().lock();
    let printed = if options.json {
        print_json(&mut out, &options.iface, &lines)
    } else {
        print_text(&mut out, &lines)
    };
    match printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("printing: {error}"));
            ExitCode::FAILURE
        }
        _ if worst(&lines) == Level::Blocking => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

fn worst(lines: &[Line]) -> Level {
    lines.iter().map(|line| line.level).max().unwrap_or(Level::Ok)
}

fn print_text(out: &mut impl Write, lines: &[Line]) -> io::Result<()> {
    for line in lines {
        writeln!(out, "{:<8}  {:<12}  {}", line.level.word(), line.topic, line.what)?;
        if let Some(cure) = &line.cure {
            writeln!(out, "{:<8}  {:<12}  -> {cure}", "", "")?;
        }
    }
    out.flush()
}

fn print_json(out: &mut impl Write, iface: &str, lines: &[Line]) -> io::Result<()> {
    let entry = |line: &Line| {
        let mut entry =
            json!({ "topic": line.topic, "level": line.level.word(), "what": line.what });
        if let Some(cure) = &line.cure {
            entry["cure"] = json!(cure);
        }
        entry
    };
    let lines_json: Vec<_> = lines.iter().map(entry).collect();
    let report = json!({ "in_iface": iface, "level": worst(lines).word(), "lines": lines_json });
    writeln!(out, "{report}")?;
    out.flush()
}
