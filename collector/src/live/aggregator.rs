//! The aggregator's thread: merges the workers' outputs in order of time and passes findings on to
//! the reporter, without ever waiting for it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use xdpwatch_core::aggregate::{Aggregate, Counts};
use xdpwatch_core::census::Snapshot;
use xdpwatch_core::detect::FeedFacts;
use xdpwatch_core::legs::Balancer;

use super::Told;
use super::bell::Bell;
use super::outbox::Outbox;
use super::tuning::Tuning;
use crate::handoff::DONE;
use crate::merge::Merge;
use crate::worker::Detection;

/// How long it sleeps while outputs wait for a worker's promise.
const SHORT_PAUSE: Duration = Duration::from_millis(1);

/// How long it sleeps at most when nothing waits; workers wake it.
const LONG_PAUSE: Duration = Duration::from_millis(50);

/// How often the census is taken, in record time: looking through all services costs.
const CENSUS_NS: u64 = 1_000_000_000;

/// What the aggregator lets others see while it runs.
#[derive(Debug, Default)]
pub struct Shown {
    /// Findings that the reporter had no place for.
    pub lost: AtomicU64,
    /// Share of the needed frames that was lost lately, millionths: told to it.
    pub loss_ppm: AtomicU32,
    /// Until when nothing was seen, microseconds, as in [`FeedFacts`]: told to it.
    pub blind_until_us: AtomicU64,
    counts: Mutex<Counts>,
    census: Mutex<Snapshot>,
    balancers: Mutex<Vec<Balancer>>,
    /// What a reload changes: told to it.
    pub tuning: Tuning,
}

impl Shown {
    /// What the aggregator has counted.
    pub fn counts(&self) -> Counts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who stood where when that was last counted.
    pub fn census(&self) -> Snapshot {
        self.census.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn show_census(&self, census: Snapshot) {
        *self.census.lock().unwrap_or_else(PoisonError::into_inner) = census;
    }

    /// The balancers that it has learned.
    pub fn balancers(&self) -> Vec<Balancer> {
        self.balancers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn show(&self, aggregate: &Aggregate) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = aggregate.counts();
        let mut balancers = self.balancers.lock().unwrap_or_else(PoisonError::into_inner);
        balancers.clear();
        balancers.extend_from_slice(aggregate.legs().balancers());
    }
}

/// Merges until every worker is done. Findings that the reporter has no place for are counted.
pub fn run(
    vantage: usize,
    outboxes: &[Arc<Outbox>],
    detection: &Detection,
    bells: &[Bell],
    tell: &SyncSender<Told>,
    shown: &Shown,
) {
    let mut merge = Merge::new(outboxes.len());
    let mut aggregate = Aggregate::new(&detection.limits, detection.seeds);
    let (mut reached_ns, mut census_ns, mut tuned) = (0, 0, 0);
    let mut pass_on = |finding| {
        if tell.try_send((vantage, finding)).is_err() {
            shown.lost.fetch_add(1, Ordering::Relaxed);
        }
    };
    loop {
        let mut idle = true;
        let mut promised_ns = DONE;
        for (lane, outbox) in outboxes.iter().enumerate() {
            let promise_ns = outbox.promised_ns();
            while let Some(output) = outbox.take() {
                merge.push(lane, output);
                idle = false;
            }
            merge.advance(lane, promise_ns);
            promised_ns = promised_ns.min(promise_ns);
        }
        if let Some(detection) = shown.tuning.newer(&mut tuned) {
            aggregate.retune(&detection.limits);
        }
        aggregate.feed(FeedFacts {
            loss_ppm: shown.loss_ppm.load(Ordering::Relaxed),
            blind_until_us: shown.blind_until_us.load(Ordering::Relaxed),
        });
        merge.drain(&mut |output| {
            reached_ns = reached_ns.max(output.at_ns);
            aggregate.handle(output, &mut pass_on);
        });
        let done = promised_ns == DONE;
        if done {
            aggregate.finish(reached_ns, &mut pass_on);
        } else {
            reached_ns = reached_ns.max(promised_ns);
            aggregate.pass_time(promised_ns, &mut pass_on);
        }
        shown.show(&aggregate);
        if done || reached_ns >= census_ns + CENSUS_NS {
            census_ns = reached_ns;
            shown.show_census(aggregate.census(reached_ns));
        }
        if done {
            return;
        }
        if !merge.is_empty() {
            // Something waits for a promise, and a worker that sleeps makes none.
            bells.iter().for_each(Bell::ring);
        }
        if idle {
            thread::park_timeout(if merge.is_empty() { LONG_PAUSE } else { SHORT_PAUSE });
        }
    }
}
