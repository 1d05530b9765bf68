//! What the command does: reads its arguments, runs what they ask for, and chooses the exit status.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;
use xdpwatch_core::detect::Limits;

use crate::args::Args;
use crate::evidence::redact::Redacted;
use crate::replay;
use crate::report::{self, Context, Origin, Reporter};
#[cfg(feature = "api")]
use crate::state::Shower;
use crate::state::State;
use crate::stats::FindingStats;
use crate::stop::Requests;
use crate::worker::{Detection, FILE_SEEDS};

/// Something failed while running.
const STATUS_FAILED: u8 = 1;

/// There were findings of severity 1 or 2, and `--exit-code` was given.
const STATUS_FINDINGS: u8 = 3;

/// How everything that was asked for ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// Whether any finding, of any vantage point, was of severity 1 or 2.
    pub any_severe: bool,
    /// Whether anything failed; it was said on standard error.
    pub failed: bool,
}

impl Outcome {
    /// Adds one vantage point's findings.
    pub fn add(&mut self, findings: &FindingStats) {
        self.any_severe |= findings.severe > 0;
    }
}

/// Runs the command and says on standard error what failed.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    set_up_tracing(args.verbose);
    match &args.command {
        Some(command) => command.run(),
        None => watch(args),
    }
}

fn watch(args: &Args) -> ExitCode {
    let outcome = match execute(args) {
        Ok(outcome) => outcome,
        Err(error) if is_broken_pipe(&error) => Outcome::default(),
        Err(error) => {
            complain(&format!("{error:#}"));
            Outcome { failed: true, ..Outcome::default() }
        }
    };
    if outcome.failed {
        ExitCode::from(STATUS_FAILED)
    } else if args.exit_code && outcome.any_severe {
        ExitCode::from(STATUS_FINDINGS)
    } else {
        ExitCode::SUCCESS
    }
}

/// One line on standard error; where even that fails there is nobody left to tell.
pub fn complain(what: &str) {
    let _ = writeln!(io::stderr(), "xdpwatch: {what}");
}

fn set_up_tracing(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("XDPWATCH_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    // A subscriber that is there already (in tests) is as good as this one.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .with_target(false)
        .try_init();
}

/// Whoever read standard output has gone: no fault, and nothing more to say.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

fn execute(args: &Args) -> anyhow::Result<Outcome> {
    let requests = Requests::listen()?;
    let sensor = args.sensor.clone().unwrap_or_else(host_name);
    let mut reporter = report::reporter(args.json, io::stdout().lock());
    let state = State::default();
    #[cfg_attr(not(feature = "api"), expect(unused_mut, reason = "nobody can ask"))]
    let mut is_asked = false;
    #[cfg(feature = "api")]
    if let Some(plan) = args.api.plan(is_live(args))? {
        crate::api::serve(plan, state.clone(), args.evidence.evidence_dir.clone())?;
        reporter = Box::new(Shower::new(reporter, state.clone()));
        is_asked = true;
    }
    if let Some(redactor) = args.evidence.redactor()? {
        reporter = Box::new(Redacted::new(reporter, redactor));
    }
    #[cfg(feature = "xdp")]
    if !args.iface.is_empty() {
        let detection = detection(args, crate::worker::random_seeds());
        let findings =
            crate::live::run(args, &detection, &sensor, reporter.as_mut(), &requests, &state)?;
        let mut outcome = Outcome::default();
        outcome.add(&findings);
        return Ok(outcome);
    }
    read_files(args, &sensor, reporter.as_mut(), &requests, is_asked.then_some(state))
}

#[cfg(feature = "api")]
fn is_live(args: &Args) -> bool {
    #[cfg(feature = "xdp")]
    return !args.iface.is_empty();
    #[cfg(not(feature = "xdp"))]
    return args.read.is_empty();
}

fn host_name() -> String {
    hostname::get().map_or_else(|_| "localhost".into(), |name| name.to_string_lossy().into_owned())
}

/// The detector's choices as the arguments give them.
#[must_use]
pub fn detection(args: &Args, seeds: [u64; 4]) -> Detection {
    Detection {
        max_tuples: args.max_tuples,
        horizon_ns: u64::try_from(args.horizon.as_nanos()).unwrap_or(u64::MAX),
        vlan_key: args.vlan_key,
        all_reuse: args.all_reuse,
        limits: Limits::default(),
        seeds,
        batch: usize::from(args.batch),
    }
}

fn read_files(
    args: &Args,
    sensor: &str,
    reporter: &mut dyn Reporter,
    requests: &Requests,
    state: Option<State>,
) -> anyhow::Result<Outcome> {
    let detection = detection(args, FILE_SEEDS);
    let options = replay::Options {
        evidence: args.evidence.set_up(&detection)?,
        state,
        detection,
        workers: usize::from(args.workers),
        count: args.count,
    };
    let mut outcome = Outcome::default();
    for path in &args.read {
        if requests.end() {
            break;
        }
        let name = path.display().to_string();
        let context = Context { sensor: sensor.to_owned(), origin: Origin::File(name.clone()) };
        let ended = replay::replay(path, &options, &context, reporter, requests)?;
        outcome.add(&ended.findings);
        outcome.failed |= explain(&name, &ended);
    }
    Ok(outcome)
}

/// Says what was wrong with a file; true if it was not read to its end.
fn explain(name: &str, ended: &replay::Outcome) -> bool {
    let file = ended.stats.file.unwrap_or_default();
    if file.clock_backwards > 0 {
        complain(&format!(
            "{name}: {} packets were older than one before them and got its time; \
             put them in order first, for example with `reordercap`",
            file.clock_backwards
        ));
    }
    let Some(problem) = &ended.problem else { return false };
    let mut read = format!("{} packets, {} bytes", file.packets, file.bytes);
    if file.packets > 0 {
        let (seconds, ns) = (ended.stats.at_ns / 1_000_000_000, ended.stats.at_ns % 1_000_000_000);
        read += &format!(", last packet at {seconds}.{ns:09} s");
    }
    complain(&format!("{name}: {problem}; read before that: {read}"));
    true
}
