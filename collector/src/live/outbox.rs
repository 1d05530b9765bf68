//! A worker's outputs on their way to the aggregator: bounded, never waited for.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;
use xdpwatch_core::watch::{Kind, Output};

/// Outputs that may wait for the aggregator.
const PLACES: usize = 1 << 16;

/// The last places are kept for findings: steps only feed the rules that span connections.
const PLACES_FOR_FINDINGS: usize = PLACES / 8;

/// The worker puts in, the aggregator takes out.
#[derive(Debug)]
pub struct Outbox {
    queue: ArrayQueue<Output>,
    watermark_ns: AtomicU64,
    lost: AtomicU64,
}

impl Outbox {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            queue: ArrayQueue::new(PLACES),
            watermark_ns: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    /// Puts an output in, or counts it as lost.
    pub fn put(&self, output: Output) {
        let reserved = match output.kind {
            Kind::Finding(_) => 0,
            _ => PLACES_FOR_FINDINGS,
        };
        if self.queue.len() + reserved >= PLACES || self.queue.push(output).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Promises that outputs to come are at or after `watermark_ns`.
    pub fn promise(&self, watermark_ns: u64) {
        // Release: whoever sees the promise sees the outputs before it.
        self.watermark_ns.fetch_max(watermark_ns, Ordering::Release);
    }

    /// The promise. Read it before taking outputs.
    pub fn promised_ns(&self) -> u64 {
        self.watermark_ns.load(Ordering::Acquire)
    }

    /// The next output.
    pub fn take(&self) -> Option<Output> {
        self.queue.pop()
    }

    /// Outputs lost.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}
