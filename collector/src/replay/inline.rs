//! One worker in the reading thread: no queues, nothing to wait for.

use super::Options;
use super::reader::Reader;
use crate::capture::file::FileError;
use crate::merge::Merge;
use crate::report::Occasion;
use crate::sink::Sink;
use crate::stats::Stats;
use crate::stop::Requests;
use crate::worker::Worker;

/// Replays the whole file; returns what was counted and why it ended early, if it did.
pub fn run(
    reader: &mut Reader,
    options: &Options,
    sink: &mut Sink<'_>,
    requests: &Requests,
) -> (Stats, Option<FileError>) {
    let mut worker = Worker::new(&options.detection, 1);
    if reader.is_long() {
        worker.use_huge_pages();
    }
    // The merge of one worker only orders what happened at one time, as it does for several.
    let mut merge = Merge::new(1);
    let mut records = Vec::with_capacity(options.detection.batch);
    let mut ended = Ok(true);
    while matches!(ended, Ok(true)) && !requests.end() && !sink.failed() {
        records.clear();
        ended = reader.fill(&mut records, options.detection.batch);
        worker.observe(&records);
        worker.outputs.drain(..).for_each(|output| merge.push(0, output));
        merge.advance(0, records.last().map_or(0, |record| record.at_ns));
        merge.drain(&mut |output| sink.handle(output));
        sink.show(|| stats(reader, &worker));
        if requests.take_stats() {
            sink.statistics(stats(reader, &worker), Occasion::Asked);
        }
    }
    worker.finish(reader.latest_ns());
    worker.outputs.drain(..).for_each(|output| merge.push(0, output));
    merge.finish(&mut |output| sink.handle(output));
    sink.finish(reader.latest_ns());
    (stats(reader, &worker), ended.err().or_else(|| reader.remaining_problem()))
}

fn stats(reader: &Reader, worker: &Worker) -> Stats {
    Stats { detector: worker.stats(), ..reader.stats() }
}
