//! The aggregator's thread: merges the workers' outputs in order of time and passes findings on to
//! the reporter, without ever waiting for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use xdpwatch_core::aggregate::Aggregate;

use super::Told;
use super::outbox::Outbox;
use crate::handoff::DONE;
use crate::merge::Merge;

/// How long it sleeps when there was nothing to do.
const PAUSE: Duration = Duration::from_millis(2);

/// Merges until every worker is done. Findings that the reporter has no place for count as `lost`.
pub fn run(
    vantage: usize,
    outboxes: &[Arc<Outbox>],
    seeds: [u64; 4],
    tell: &SyncSender<Told>,
    lost: &AtomicU64,
) {
    let mut merge = Merge::new(outboxes.len());
    let mut aggregate = Aggregate::new(seeds);
    loop {
        let mut done = true;
        let mut idle = true;
        for (lane, outbox) in outboxes.iter().enumerate() {
            let promised_ns = outbox.promised_ns();
            done &= promised_ns == DONE;
            while let Some(output) = outbox.take() {
                merge.push(lane, output);
                idle = false;
            }
            merge.advance(lane, promised_ns);
        }
        merge.drain(&mut |output| {
            aggregate.handle(output, &mut |finding| {
                if tell.try_send((vantage, finding)).is_err() {
                    lost.fetch_add(1, Ordering::Relaxed);
                }
            });
        });
        if done {
            return;
        }
        if idle {
            thread::sleep(PAUSE);
        }
    }
}
