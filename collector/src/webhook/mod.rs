//! Webhooks: groups of findings reach people, also when the other end is down for a while.
//!
//! The reporter hands messages to the spool's thread through a bounded queue; that thread writes each
//! to disk for every hook that wants it; a thread per hook (`courier`) delivers from there. Delivery
//! is at least once: `webhook-id` tells duplicates.

pub mod config;
pub mod format;
pub mod options;
pub mod probe;

mod courier;
mod delivery;
mod message;
mod queue;
mod retry;
mod sign;
mod spool;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use xdpwatch_core::finding::Finding;
use xdpwatch_core::group::Change;

use crate::compare::Comparison;
use crate::interruption::Interruption;
use crate::report::{Context, Occasion, Reporter};
use crate::stats::{Stats, WebhookStats};
use config::{Hook, WebhookConfig};
use courier::{Courier, Standing};
use message::Message;

/// Messages that may wait for the spool's thread.
const MESSAGES_WAITING: usize = 4096;

/// Messages spooled at once.
const BATCH: usize = 256;

/// What to do when messages come faster than the disk takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// Live: count the message as lost, packets don't wait.
    Lose,
    /// Reading files: wait for the disk (never for a hook).
    Wait,
}

/// All hooks of a run.
pub struct Webhooks {
    send: Option<SyncSender<Message>>,
    haste: Haste,
    lost: u64,
    counted: Arc<Counted>,
    thread: Option<JoinHandle<Vec<Courier>>>,
}

/// The couriers' sums, for statistics while they run.
#[derive(Debug, Default)]
struct Counted {
    delivered: AtomicU64,
    retried: AtomicU64,
    dead: AtomicU64,
    evicted: AtomicU64,
    unspooled: AtomicU64,
    waiting: AtomicU64,
}

impl Webhooks {
    /// Opens the spools and starts delivering what waits there from earlier runs.
    ///
    /// # Errors
    /// A hook's configuration or spool can't be used.
    pub fn start(
        configs: &[WebhookConfig],
        spool_dir: &Path,
        haste: Haste,
    ) -> anyhow::Result<Self> {
        // Every refusal comes before the first delivery, whichever hook it concerns.
        let hooks = configs.iter().map(Hook::new).collect::<anyhow::Result<Vec<_>>>()?;
        let couriers = hooks
            .into_iter()
            .map(|hook| Courier::start(hook, spool_dir))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let (send, receive) = sync_channel(MESSAGES_WAITING);
        let counted = Arc::new(Counted::default());
        let shown = Arc::clone(&counted);
        let run = move || spool(couriers, &receive, &shown);
        let thread = thread::Builder::new().name("spool".to_owned()).spawn(run)?;
        Ok(Self { send: Some(send), haste, lost: 0, counted, thread: Some(thread) })
    }

    fn put(&mut self, message: Message) {
        let Some(send) = &self.send else { return };
        let is_lost = match self.haste {
            Haste::Lose => send.try_send(message).is_err(),
            Haste::Wait => send.send(message).is_err(),
        };
        self.lost += u64::from(is_lost);
    }

    fn stats(&self) -> WebhookStats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        WebhookStats {
            delivered: read(&self.counted.delivered),
            retried: read(&self.counted.retried),
            dead: read(&self.counted.dead),
            evicted: read(&self.counted.evicted),
            unspooled: read(&self.counted.unspooled),
            waiting: read(&self.counted.waiting),
            lost: self.lost,
        }
    }

    /// Spools what still comes, waits at most this long for deliveries, and says of each hook what it
    /// did not get, in words for a person.
    #[must_use]
    pub fn close(mut self, wait: Duration) -> Vec<String> {
        drop(self.send.take());
        let Some(Ok(couriers)) = self.thread.take().map(JoinHandle::join) else {
            return vec!["webhooks: the spool's thread failed".to_owned()];
        };
        let deadline = Instant::now() + wait;
        let mut complaints: Vec<_> = couriers
            .into_iter()
            .filter_map(|mut courier| complaint(&courier.close(deadline)))
            .collect();
        if self.lost > 0 {
            complaints.push(format!("webhooks: {} alerts found no place in the queue", self.lost));
        }
        complaints
    }
}

/// The spool's thread.
fn spool(
    mut couriers: Vec<Courier>,
    receive: &Receiver<Message>,
    counted: &Counted,
) -> Vec<Courier> {
    let mut batch = Vec::with_capacity(BATCH);
    while let Ok(first) = receive.recv() {
        batch.push(first);
        batch.extend(receive.try_iter().take(BATCH - 1));
        couriers.iter_mut().for_each(|courier| courier.put(&batch));
        batch.clear();
        counted.show(&couriers);
    }
    couriers
}

impl Counted {
    fn show(&self, couriers: &[Courier]) {
        let standings: Vec<_> = couriers.iter().map(Courier::standing).collect();
        let show = |place: &AtomicU64, count: fn(&courier::Counts) -> u64| {
            let sum = standings.iter().map(|standing| count(&standing.counts)).sum();
            place.store(sum, Ordering::Relaxed);
        };
        show(&self.delivered, |counts| counts.delivered);
        show(&self.retried, |counts| counts.retried);
        show(&self.dead, |counts| counts.dead);
        show(&self.evicted, |counts| counts.evicted);
        show(&self.unspooled, |counts| counts.unspooled);
        show(&self.waiting, |counts| counts.waiting);
    }
}

fn complaint(standing: &Standing) -> Option<String> {
    let Standing { name, dir, counts, last_failure } = standing;
    let parts: Vec<_> = [
        (counts.waiting, "wait there for the next run"),
        (counts.dead, "were refused and lie in its folder `dead`"),
        (counts.evicted, "were given up because it was full"),
        (counts.unspooled, "could not be written to it"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    if parts.is_empty() {
        return None;
    }
    let reason = last_failure.as_deref().unwrap_or("not tried yet");
    Some(format!(
        "webhook {name}: not all alerts were delivered, of those in {} {}; last: {reason}",
        dir.display(),
        parts.join(", ")
    ))
}

/// Tells another reporter everything, and the hooks the groups.
pub struct WithWebhooks<'a> {
    /// The other reporter.
    pub inner: Box<dyn Reporter + 'a>,
    /// The hooks.
    pub webhooks: Webhooks,
}

impl Reporter for WithWebhooks<'_> {
    fn finding(
        &mut self,
        context: &Context,
        finding: &Finding,
        group_id: u64,
        utc_offset_ns: i64,
    ) -> io::Result<()> {
        self.inner.finding(context, finding, group_id, utc_offset_ns)
    }

    fn group(
        &mut self,
        context: &Context,
        change: &Change<'_>,
        utc_offset_ns: i64,
    ) -> io::Result<()> {
        self.webhooks.put(Message::of(context, change, utc_offset_ns));
        self.inner.group(context, change, utc_offset_ns)
    }

    fn statistics(
        &mut self,
        context: &Context,
        stats: &Stats,
        occasion: Occasion,
    ) -> io::Result<()> {
        self.inner.statistics(context, &self.with_own(stats), occasion)
    }

    fn show(&mut self, context: &Context, stats: &Stats, trouble: Option<String>) {
        self.inner.show(context, &self.with_own(stats), trouble);
    }

    fn interruption(
        &mut self,
        context: &Context,
        interruption: &Interruption,
        utc_offset_ns: i64,
    ) -> io::Result<()> {
        self.inner.interruption(context, interruption, utc_offset_ns)
    }

    fn comparison(&mut self, context: &Context, comparison: &Comparison) -> io::Result<()> {
        self.inner.comparison(context, comparison)
    }
}

impl WithWebhooks<'_> {
    fn with_own(&self, stats: &Stats) -> Stats {
        Stats { webhooks: Some(self.webhooks.stats()), ..stats.clone() }
    }
}
