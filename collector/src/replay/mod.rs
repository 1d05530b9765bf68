//! Capture files through the very pipeline that live capture uses, with the time from the file.
//!
//! Each file is a vantage point of its own: own tables, own findings, own summary. Reading, every worker
//! and reporting have a thread each, with bounded queues between them that block, so nothing is lost.

mod clock;
pub(crate) mod reader;
mod threads;

use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::capture::file::{CaptureFile, FileError};
use crate::evidence::args::Setup;
use crate::evidence::history::{History, Keep};
use crate::evidence::redact::Redactor;
use crate::report::{Context, Occasion, Reporter};
use crate::sink::Sink;
use crate::stats::{FindingStats, Stats};
use crate::stop::Requests;
use crate::worker::{Detection, Worker};

use reader::Reader;

/// How files are read.
#[derive(Clone, Debug)]
pub struct Options {
    /// The detector's choices.
    pub detection: Detection,
    /// Worker threads.
    pub workers: usize,
    /// Stop after this many packets.
    pub count: Option<u64>,
    /// Evidence files, if they are wanted.
    pub evidence: Option<Setup>,
    /// What renames addresses, if that is wanted.
    pub redactor: Option<Redactor>,
}

/// How a file's replay ended.
#[derive(Debug)]
pub struct Outcome {
    /// Findings reported.
    pub findings: FindingStats,
    /// What was read.
    pub stats: Stats,
    /// Why reading ended before the file's end, if it did.
    pub problem: Option<FileError>,
}

/// Replays one file and reports what is found.
///
/// # Errors
/// Those of the reporter; too little memory. Trouble with the file is in the [`Outcome`]: what was read before counts.
pub fn replay(
    path: &Path,
    options: &Options,
    context: &Context,
    reporter: &mut dyn Reporter,
    requests: &Requests,
) -> anyhow::Result<Outcome> {
    let file = match CaptureFile::open(path) {
        Ok(file) => file,
        Err(problem) => {
            let stats = Stats { file: Some(Default::default()), ..Stats::default() };
            return Ok(Outcome { findings: stats.findings, stats, problem: Some(problem) });
        }
    };
    let crew = Worker::crew(&options.detection, options.workers)?;
    let history =
        options.evidence.as_ref().map(|setup| Arc::new(Mutex::new(remember(setup, options))));
    let mut reader = Reader::new(file, options.count, history.clone());
    let mut sink = Sink::new(&options.detection, context, reporter, options.redactor.clone());
    if let Some((setup, history)) = options.evidence.as_ref().zip(history) {
        sink.keep_evidence(setup.clerk(context.name()), history);
    }
    let (mut stats, problem) = threads::run(&mut reader, options, crew, &mut sink, requests);
    stats.findings = sink.findings();
    sink.statistics(stats.clone(), Occasion::End);
    sink.result()?;
    Ok(Outcome { findings: sink.findings(), stats, problem })
}

/// A history that answers the same whatever the number of workers and the size of batches: it is
/// longer by as much as the reader may be ahead of the findings.
fn remember(setup: &Setup, options: &Options) -> History {
    History::new(setup.depth, threads::AHEAD, Keep::Transitions, options.detection.seeds[2])
}
