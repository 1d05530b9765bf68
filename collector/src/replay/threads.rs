//! Several workers: the reader deals records out by owner, round by round; every worker hears of
//! every round, so that the merge of their outputs never waits for an idle one.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use xdpwatch_core::watch::{Output, owner};
use xdpwatch_prog::record::Record;

use super::Options;
use super::reader::Reader;
use crate::capture::file::FileError;
use crate::merge::Merge;
use crate::report::Occasion;
use crate::sink::Sink;
use crate::stats::{DetectorStats, Stats};
use crate::stop::Requests;
use crate::worker::Worker;

/// Rounds that may wait for a worker.
const ROUNDS_WAITING: usize = 16;

/// Rounds that may have been read after one whose findings are being reported: waiting for a worker,
/// waiting for the merge, and those in hands.
pub const ROUNDS_AHEAD: usize = 2 * ROUNDS_WAITING + 4;

/// One worker's share of a round.
struct Share {
    records: Vec<Record>,
    /// No record before this will follow.
    watermark_ns: u64,
    is_last: bool,
}

/// What a worker made of its share.
struct Result {
    lane: usize,
    outputs: Vec<Output>,
    watermark_ns: u64,
    stats: DetectorStats,
}

/// What the reader tells the reporting thread about itself.
struct Read {
    stats: Stats,
    problem: Option<FileError>,
    gave_up: bool,
}

/// Replays the whole file; returns what was counted and why it ended early, if it did.
pub fn run(
    reader: &mut Reader,
    options: &Options,
    sink: &mut Sink<'_>,
    requests: &Requests,
) -> (Stats, Option<FileError>) {
    let read = Mutex::new(Read { stats: reader.stats(), problem: None, gave_up: false });
    let workers = options.workers;
    let is_long = reader.is_long();
    let mut detectors = vec![DetectorStats::default(); workers];
    thread::scope(|scope| {
        let (results, merged) = sync_channel(ROUNDS_WAITING * workers);
        let mut shares = Vec::with_capacity(workers);
        for lane in 0..workers {
            let (share, mine) = sync_channel(ROUNDS_WAITING);
            let results = results.clone();
            shares.push(share);
            let worker = Worker::new(&options.detection, workers);
            if is_long {
                worker.use_huge_pages();
            }
            scope.spawn(move || work(lane, worker, &mine, &results));
        }
        drop(results);
        let read = &read;
        scope.spawn(move || deal(reader, options, &shares, read, requests));
        let mut merge = Merge::new(workers);
        for result in merged {
            let Result { lane, outputs, watermark_ns, stats } = result;
            detectors[lane] = stats;
            outputs.into_iter().for_each(|output| merge.push(lane, output));
            merge.advance(lane, watermark_ns);
            merge.drain(&mut |output| sink.handle(output));
            if sink.failed() {
                locked(read, |read| read.gave_up = true);
            }
            sink.show(|| combined(read, &detectors));
            if requests.take_stats() {
                sink.statistics(combined(read, &detectors), Occasion::Asked);
            }
        }
        merge.finish(&mut |output| sink.handle(output));
    });
    sink.finish(locked(&read, |read| read.stats.at_ns));
    (combined(&read, &detectors), locked(&read, |read| read.problem.take()))
}

/// Reads the file and deals its records out.
fn deal(
    reader: &mut Reader,
    options: &Options,
    shares: &[SyncSender<Share>],
    read: &Mutex<Read>,
    requests: &Requests,
) {
    let [seed, ..] = options.detection.seeds;
    let round = options.detection.batch * shares.len();
    let mut records = Vec::with_capacity(round);
    let mut ended = Ok(true);
    while matches!(ended, Ok(true)) {
        records.clear();
        ended = reader.fill(&mut records, round);
        let gave_up = locked(read, |read| {
            read.stats = reader.stats();
            read.gave_up
        });
        if gave_up || requests.end() {
            ended = ended.map(|_| false);
        }
        let is_last = !matches!(ended, Ok(true));
        let watermark_ns = match records.last() {
            Some(last) if !is_last => last.at_ns,
            _ => reader.latest_ns(),
        };
        let mut dealt = vec![Vec::with_capacity(options.detection.batch); shares.len()];
        for record in &records {
            dealt[owner(record, seed, shares.len())].push(*record);
        }
        for (share, records) in shares.iter().zip(dealt) {
            if share.send(Share { records, watermark_ns, is_last }).is_err() {
                return;
            }
        }
    }
    let problem = ended.err().or_else(|| reader.remaining_problem());
    locked(read, |read| read.problem = problem);
}

/// One worker's thread.
fn work(lane: usize, mut worker: Worker, shares: &Receiver<Share>, results: &SyncSender<Result>) {
    for Share { records, watermark_ns, is_last } in shares {
        worker.observe(&records);
        if is_last {
            worker.finish(watermark_ns);
        } else {
            worker.tick(watermark_ns);
        }
        let outputs = std::mem::take(&mut worker.outputs);
        let result = Result { lane, outputs, watermark_ns, stats: worker.stats() };
        if results.send(result).is_err() {
            return;
        }
    }
}

fn combined(read: &Mutex<Read>, detectors: &[DetectorStats]) -> Stats {
    let mut stats = locked(read, |read| read.stats.clone());
    for detector in detectors {
        stats.detector.add(detector);
    }
    stats
}

/// Runs `f` on what the lock guards; a panic elsewhere does not make these numbers wrong.
fn locked<T, R>(mutex: &Mutex<T>, f: impl FnOnce(&mut T) -> R) -> R {
    f(&mut mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}
