//! What the command does: reads its arguments, runs what they ask for, and chooses the exit status.

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use crate::args::Args;
use crate::compare::{self, Inputs, Keeper};
use crate::config;
use crate::config::reload::Reloader;
use crate::evidence::redact::Redactor;
use crate::log::{self, complain};
use crate::replay;
use crate::report::{self, Context, Origin, Reporter};
#[cfg(feature = "api")]
use crate::state::{Shower, State};
use crate::stats::FindingStats;
use crate::stop::Requests;
use crate::usage;
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

/// Runs what the command line asks for and says on standard error what failed.
#[must_use]
pub fn run(argv: Vec<OsString>) -> ExitCode {
    let loaded = match config::load(&argv) {
        Ok(loaded) => loaded,
        Err(failure) => return config::command::refuse(failure),
    };
    let args = &loaded.args;
    log::set_up(args.verbose);
    if let Some(wrong) = misuse(args) {
        complain(&wrong);
        return ExitCode::from(usage::STATUS);
    }
    match &args.command {
        Some(command) => command.run(args),
        None if args.test_config => config::command::approve(&loaded),
        None => watch(args, Reloader::new(argv, loaded.config)),
    }
}

fn watch(args: &Args, reloader: Reloader) -> ExitCode {
    let outcome = match execute(args, reloader) {
        Ok(outcome) => outcome,
        Err(error) if is_broken_pipe(&error) => Outcome::default(),
        Err(error) => {
            complain(&format!("{error:#}"));
            if usage::is_usage(&error) {
                return ExitCode::from(usage::STATUS);
            }
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

/// Whoever read standard output has gone: no fault, and nothing more to say.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

fn execute(args: &Args, reloader: Reloader) -> anyhow::Result<Outcome> {
    let mut requests = Requests::listen()?;
    if args.read.is_empty() {
        requests.listen_to_reload(reloader)?;
    }
    #[cfg(feature = "xdp")]
    let rights = if args.iface.is_empty() { None } else { Some(crate::service::confine(args)?) };
    #[cfg(feature = "xdp")]
    if let Some(rights) = &rights {
        complain(&rights.to_string());
    }
    let sensor = args.sensor.clone().unwrap_or_else(host_name);
    let mut reporter = report::reporter(args.json, args.language.lang, io::stdout().lock());
    #[cfg(feature = "api")]
    if let Some(plan) = args.api.plan(args.read.is_empty())? {
        let state = State::default();
        #[cfg(feature = "xdp")]
        if let Some(rights) = &rights {
            state.seen().unconfined = rights.not_in_force();
        }
        crate::api::serve(plan, state.clone(), args.evidence.evidence_dir.clone())?;
        reporter = Box::new(Shower::new(reporter, state));
    }
    #[cfg(feature = "webhook")]
    // Live, a reload may bring the first hook.
    if args.webhooks.any() || args.read.is_empty() {
        return capture_with_webhooks(args, &sensor, reporter, &requests);
    }
    capture(args, &sensor, reporter.as_mut(), &requests)
}

/// Live or from files.
fn capture(
    args: &Args,
    sensor: &str,
    reporter: &mut dyn Reporter,
    requests: &Requests,
) -> anyhow::Result<Outcome> {
    #[cfg(feature = "xdp")]
    if !args.iface.is_empty() {
        let detection = Detection::of(args, crate::worker::random_seeds());
        let findings = crate::live::run(args, &detection, sensor, reporter, requests)?;
        let mut outcome = Outcome::default();
        outcome.add(&findings);
        return Ok(outcome);
    }
    read_files(args, sensor, reporter, requests)
}

/// At the end of live capture deliveries are waited for no longer than this: the next start goes on.
#[cfg(feature = "webhook")]
const LIVE_WAIT: std::time::Duration = std::time::Duration::from_secs(3);

/// The same with hooks. A file's alerts that were not delivered are a failure; live, they wait for
/// the next start.
#[cfg(feature = "webhook")]
fn capture_with_webhooks(
    args: &Args,
    sensor: &str,
    inner: Box<dyn Reporter + '_>,
    requests: &Requests,
) -> anyhow::Result<Outcome> {
    use crate::webhook::reporter::WithWebhooks;
    use crate::webhook::{Haste, Webhooks};
    let options = &args.webhooks;
    let is_live = args.read.is_empty();
    let haste = if is_live { Haste::Lose } else { Haste::Wait };
    let webhooks =
        Webhooks::start(&options.configs().map_err(usage::wrong)?, &options.spool(is_live), haste)?;
    let mut reporter = WithWebhooks { inner, webhooks };
    let outcome = capture(args, sensor, &mut reporter, requests);
    let wait = if is_live { options.webhook_wait.min(LIVE_WAIT) } else { options.webhook_wait };
    let complaints = reporter.webhooks.close(wait);
    complaints.iter().for_each(|what| complain(what));
    let outcome = outcome?;
    Ok(Outcome { failed: outcome.failed || (!is_live && !complaints.is_empty()), ..outcome })
}

fn host_name() -> String {
    hostname::get().map_or_else(|_| "localhost".into(), |name| name.to_string_lossy().into_owned())
}

fn read_files(
    args: &Args,
    sensor: &str,
    reporter: &mut dyn Reporter,
    requests: &Requests,
) -> anyhow::Result<Outcome> {
    let detection = Detection::of(args, FILE_SEEDS);
    let options = replay::Options {
        evidence: args.evidence.set_up(&detection)?,
        redactor: args.evidence.redactor()?,
        detection,
        workers: usize::from(args.workers),
        count: args.count,
    };
    let inputs = inputs(args, options.redactor.clone());
    let mut reporter = Keeper::new(reporter);
    let mut outcome = Outcome::default();
    for (point, path) in args.read.iter().enumerate() {
        if requests.end() {
            break;
        }
        reporter.point = point;
        let name = path.display().to_string();
        let context = Context { sensor: sensor.to_owned(), origin: Origin::File(name.clone()) };
        let ended = replay::replay(path, &options, &context, &mut reporter, requests)?;
        outcome.add(&ended.findings);
        outcome.failed |= explain(&name, &ended);
    }
    if let Some(inputs) = inputs.filter(|_| !requests.end()) {
        let comparison = compare::compare(&inputs, reporter.findings.take(u64::MAX))?;
        let origin = Origin::File(comparison.names[0].clone());
        let context = Context { sensor: sensor.to_owned(), origin };
        reporter.comparison(&context, &comparison)?;
        let not_kept = reporter.findings.not_kept;
        if not_kept > 0 {
            complain(&format!("{not_kept} findings were not compared: too many"));
        }
    }
    Ok(outcome)
}

/// What is wrong with the options, together or with what they name, and no parser sees.
fn misuse(args: &Args) -> Option<String> {
    if args.compare {
        return compare_misuse(args);
    }
    #[cfg(feature = "xdp")]
    if args.command.is_none() && args.read.is_empty() {
        return args.state.state_file.as_deref().and_then(crate::state_file::misuse);
    }
    None
}

fn compare_misuse(args: &Args) -> Option<String> {
    #[cfg(feature = "xdp")]
    if !args.iface.is_empty() {
        return live_misuse(args);
    }
    if args.read.len() != 2 {
        let given = args.read.len();
        return Some(format!(
            "--compare takes exactly two files, -r FIRST -r SECOND; {given} given"
        ));
    }
    let reads_twice = args.read.iter().all(|path| compare::is_readable_again(path));
    let what = "--compare reads each file more than once: save standard input to a file first";
    (!reads_twice).then(|| what.to_owned())
}

/// The same of `--compare` on interfaces.
#[cfg(feature = "xdp")]
fn live_misuse(args: &Args) -> Option<String> {
    let what = match &args.iface[..] {
        [first, second] if first == second => format!(
            "--compare takes two interfaces that show two places; {first} is given twice: give \
             another for one of them"
        ),
        [_, _] if !args.selects_all() => "--compare says of each segment whether it arrived, and \
            --select control leaves most of them out: leave it out, or say --select all"
            .to_owned(),
        [_, _] if args.write.is_some() => "-w writes the headers of one vantage point, and with \
            --compare there are two: leave it out, or write with two xdpwatch and compare the files"
            .to_owned(),
        [_, _] if args.state.state_file.is_some() => {
            "--state-file keeps the tuples of one vantage \
            point, and with --compare there are two: leave it out"
                .to_owned()
        }
        [_, _] => return None,
        names => format!(
            "--compare takes exactly two interfaces, -i FIRST -i SECOND (or two files with -r); {} \
             given",
            names.len()
        ),
    };
    Some(what)
}

/// The two files that are to be compared, if that was asked for.
fn inputs(args: &Args, redactor: Option<Redactor>) -> Option<Inputs> {
    let paths = args.read.clone().try_into().ok().filter(|_| args.compare)?;
    Some(Inputs { paths, count: args.count, redactor })
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
    if file.damaged_times > 0 {
        complain(&format!(
            "{name}: {} packets were hours ahead of the next one and got the time of the one before: \
             see whether the file is damaged",
            file.damaged_times
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
