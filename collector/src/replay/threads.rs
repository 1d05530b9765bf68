//! Reading, workers and reporting side by side: the reader deals records out by owner, round by round;
//! every worker hears of every round, so that the merge of their outputs never waits for an idle one.
//!
//! What is empty goes back to whoever fills it: nothing is allocated for a packet.

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

/// Records of a round at most, for all workers together: enough that handing them over costs little.
const ROUND: usize = 2048;

/// Rounds that may wait for a worker, and for the merge.
const ROUNDS_WAITING: usize = 8;

/// Records that may have been read after one whose findings are being reported: those waiting for a
/// worker, waiting for the merge, and in hands.
pub const AHEAD: usize = ROUND * (2 * ROUNDS_WAITING + 4);

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

/// The reader's end of one worker's queues.
struct Dealt {
    shares: SyncSender<Share>,
    /// Shares that the worker is done with.
    empty: Receiver<Vec<Record>>,
}

/// One worker's end of its queues.
struct Desk {
    lane: usize,
    shares: Receiver<Share>,
    emptied: SyncSender<Vec<Record>>,
    results: SyncSender<Result>,
    /// Outputs that the merge has taken over.
    empty: Receiver<Vec<Output>>,
}

/// What the reader tells the reporting thread about itself.
struct Read {
    stats: Stats,
    problem: Option<FileError>,
    gave_up: bool,
}

/// Replays the whole file by these workers; returns what was counted and why it ended early, if it did.
pub fn run(
    reader: &mut Reader,
    options: &Options,
    crew: Vec<Worker>,
    sink: &mut Sink<'_>,
    requests: &Requests,
) -> (Stats, Option<FileError>) {
    let read = Mutex::new(Read { stats: reader.stats(), problem: None, gave_up: false });
    let workers = crew.len();
    let is_long = reader.is_long();
    let mut detectors = vec![DetectorStats::default(); workers];
    thread::scope(|scope| {
        let (results, merged) = sync_channel(ROUNDS_WAITING * workers);
        let (mut dealt, mut emptied) = (Vec::new(), Vec::new());
        for (lane, worker) in crew.into_iter().enumerate() {
            if is_long {
                worker.use_huge_pages();
            }
            let (reader, desk, outputs) = desk(lane, results.clone());
            dealt.push(reader);
            emptied.push(outputs);
            scope.spawn(move || work(worker, &desk));
        }
        drop(results);
        let read = &read;
        scope.spawn(move || deal(reader, options, &dealt, read, requests));
        let mut merge = Merge::new(workers);
        for result in merged {
            let Result { lane, mut outputs, watermark_ns, stats } = result;
            detectors[lane] = stats;
            merge.append(lane, &mut outputs);
            // A worker that has ended needs none.
            let _ = emptied[lane].try_send(outputs);
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

/// The queues of one worker: the reader's end, its own, and the one for emptied outputs.
fn desk(lane: usize, results: SyncSender<Result>) -> (Dealt, Desk, SyncSender<Vec<Output>>) {
    let (shares, mine) = sync_channel(ROUNDS_WAITING);
    let (emptied, empty) = sync_channel(ROUNDS_WAITING + 2);
    let (outputs, empty_outputs) = sync_channel(ROUNDS_WAITING + 2);
    let desk = Desk { lane, shares: mine, emptied, results, empty: empty_outputs };
    (Dealt { shares, empty }, desk, outputs)
}

/// Reads the file and deals its records out.
fn deal(
    reader: &mut Reader,
    options: &Options,
    dealt: &[Dealt],
    read: &Mutex<Read>,
    requests: &Requests,
) {
    let [seed, ..] = options.detection.seeds;
    let mut records = Vec::with_capacity(ROUND);
    let mut shares: Vec<Vec<Record>> = vec![Vec::new(); dealt.len()];
    let mut ended = Ok(true);
    while matches!(ended, Ok(true)) {
        records.clear();
        ended = reader.fill(&mut records, ROUND);
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
        for (share, dealt) in shares.iter_mut().zip(dealt) {
            *share = dealt.empty.try_recv().unwrap_or_default();
        }
        if let [only] = shares.as_mut_slice() {
            std::mem::swap(only, &mut records);
        } else {
            for record in &records {
                shares[owner(record, seed, dealt.len())].push(*record);
            }
        }
        for (share, dealt) in shares.iter_mut().zip(dealt) {
            let share = Share { records: std::mem::take(share), watermark_ns, is_last };
            if dealt.shares.send(share).is_err() {
                return;
            }
        }
    }
    let problem = ended.err().or_else(|| reader.remaining_problem());
    locked(read, |read| read.problem = problem);
}

/// One worker's thread.
fn work(mut worker: Worker, desk: &Desk) {
    for Share { mut records, watermark_ns, is_last } in &desk.shares {
        worker.outputs = desk.empty.try_recv().unwrap_or_default();
        worker.observe(&records);
        records.clear();
        // The reader may have ended.
        let _ = desk.emptied.try_send(records);
        if is_last {
            worker.finish(watermark_ns);
        } else {
            worker.tick(watermark_ns);
        }
        let outputs = std::mem::take(&mut worker.outputs);
        let result = Result { lane: desk.lane, outputs, watermark_ns, stats: worker.stats() };
        if desk.results.send(result).is_err() {
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
