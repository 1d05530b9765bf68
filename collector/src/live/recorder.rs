//! One worker's segments on their way to the comparison of two interfaces: bounded, never waited for.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;
use xdpwatch_prog::record::Record;

use crate::compare::{Segment, Sight};

/// Segments that may wait until they are gathered.
const PLACES: usize = 1 << 15;

/// The worker puts in, the gatherer takes out.
#[derive(Debug)]
pub struct Recorder {
    queue: ArrayQueue<Sight>,
    reached_ns: AtomicU64,
    end_ns: AtomicU64,
    lost: AtomicU64,
}

impl Recorder {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            queue: ArrayQueue::new(PLACES),
            reached_ns: AtomicU64::new(0),
            end_ns: AtomicU64::new(u64::MAX),
            lost: AtomicU64::new(0),
        }
    }

    /// Puts a record's segment in, or counts it as lost.
    pub fn put(&self, record: &Record) {
        let sight = Sight { at_ns: record.at_ns, segment: Segment::of(record) };
        if self.queue.push(sight).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Everything seen before this was put in.
    pub fn reach(&self, at_ns: u64) {
        // Release: whoever sees this sees what was put in before it.
        self.reached_ns.fetch_max(at_ns, Ordering::Release);
    }

    /// How far it has come. Read it before taking segments.
    pub fn reached_ns(&self) -> u64 {
        self.reached_ns.load(Ordering::Acquire)
    }

    /// From here on nothing is put in: enough was taken (`--count`).
    pub fn end_at(&self, at_ns: u64) {
        self.end_ns.fetch_min(at_ns, Ordering::Relaxed);
    }

    /// When that was, if it was.
    pub fn end_ns(&self) -> u64 {
        self.end_ns.load(Ordering::Relaxed)
    }

    /// What waits now; more may come meanwhile.
    pub fn take(&self) -> impl Iterator<Item = Sight> + '_ {
        std::iter::from_fn(|| self.queue.pop()).take(self.queue.len())
    }

    /// Segments lost so far.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}
