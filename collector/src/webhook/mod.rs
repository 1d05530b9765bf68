//! Webhooks: groups of findings reach people, also when the other end is down for a while.
//!
//! The reporter hands messages to the spool's thread through a bounded queue; that thread writes each
//! to disk for every hook that wants it; a thread per hook (`courier`) delivers from there. Delivery
//! is at least once: `webhook-id` tells duplicates.

pub mod config;
pub mod format;
pub mod options;
pub mod probe;
pub mod reporter;

mod courier;
mod couriers;
mod delivery;
mod message;
mod progress;
mod queue;
mod retry;
mod sign;
mod spool;
mod standing;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use xdpwatch_core::group::Change;

use crate::report::Context;
use crate::stats::WebhookStats;
use crate::usage;
use config::{Hook, WebhookConfig};
use courier::{Courier, Standing};
use couriers::Couriers;
use message::Message;
use progress::Progress;

/// Messages that may wait for the spool's thread.
const MESSAGES_WAITING: usize = 4096;

/// Messages spooled at once.
const BATCH: usize = 256;

/// How long a disk may take before the reporter goes on without it.
const SPOOL_WAIT: Duration = Duration::from_secs(5);

/// What to do when messages come faster than the disk takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// Live: give the disk a moment, then count the message as lost. Packets don't wait.
    Lose,
    /// Reading files: wait for the disk (never for a hook).
    Wait,
}

/// All hooks of a run.
pub struct Webhooks {
    spool_dir: PathBuf,
    haste: Haste,
    lost: u64,
    /// Messages that the spool's thread was given.
    posted: u64,
    /// How many were on disk when it had taken none for longer than it may.
    stuck_at: Option<u64>,
    progress: Arc<Progress>,
    counted: Arc<Counted>,
    /// From the first hook on.
    running: Option<Running>,
}

/// The spool's thread, and the way to it.
struct Running {
    send: SyncSender<Order>,
    thread: JoinHandle<Vec<Courier>>,
}

/// What the spool's thread is told, in this order.
enum Order {
    /// To post this.
    Post(Message),
    /// To post to these hooks from now on.
    Hooks(Vec<Hook>),
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
        let hooks = configs.iter().map(|config| Hook::new(config).map_err(usage::wrong));
        let hooks = hooks.collect::<anyhow::Result<Vec<_>>>()?;
        let mut webhooks = Self {
            spool_dir: spool_dir.to_owned(),
            haste,
            lost: 0,
            posted: 0,
            stuck_at: None,
            progress: Arc::default(),
            counted: Arc::default(),
            running: None,
        };
        webhooks.run(hooks)?;
        Ok(webhooks)
    }

    /// Starts the spool's thread, if there is any hook.
    fn run(&mut self, hooks: Vec<Hook>) -> anyhow::Result<()> {
        if hooks.is_empty() {
            return Ok(());
        }
        let mut couriers = Couriers::start(hooks, &self.spool_dir)?;
        if self.haste == Haste::Lose {
            // What stood when the last run was cut off: nobody has watched it since.
            couriers.settle();
        }
        let (send, receive) = sync_channel(MESSAGES_WAITING);
        let (shown, progress) = (Arc::clone(&self.counted), Arc::clone(&self.progress));
        let run = move || spool(couriers, &receive, &progress, &shown);
        let thread = thread::Builder::new().name("spool".to_owned()).spawn(run)?;
        self.running = Some(Running { send, thread });
        Ok(())
    }

    /// Posts to these from now on, after what came before. Spools of hooks that are no more keep what waits
    /// in them.
    ///
    /// # Errors
    /// A hook's configuration can't be used; everything stays as it is then.
    pub fn exchange(&mut self, configs: &[WebhookConfig]) -> anyhow::Result<()> {
        let hooks = configs.iter().map(Hook::new).collect::<anyhow::Result<Vec<_>>>()?;
        match &self.running {
            None => self.run(hooks),
            Some(running) => running.send.try_send(Order::Hooks(hooks)).map_err(|_| {
                anyhow::anyhow!("the queue to their spool is full; send SIGHUP again")
            }),
        }
    }

    /// Takes a group that is to be told of. `utc_offset_ns` is to be added to every time in it.
    pub fn group(&mut self, context: &Context, change: &Change<'_>, utc_offset_ns: i64) {
        self.put(|| Message::of(context, change, utc_offset_ns));
    }

    fn put(&mut self, make: impl FnOnce() -> Message) {
        let Some(Running { send, .. }) = &self.running else { return };
        let order = Order::Post(make());
        let is_taken = match self.haste {
            Haste::Wait => send.send(order).is_ok(),
            Haste::Lose => self.offer(order),
        };
        self.posted += u64::from(is_taken);
        self.lost += u64::from(!is_taken);
    }

    /// Many groups may end at once: where the queue is full, the disk gets the time that it may take.
    fn offer(&mut self, order: Order) -> bool {
        let Some(Running { send, .. }) = &self.running else { return false };
        match send.try_send(order) {
            Ok(()) => true,
            Err(TrySendError::Disconnected(_)) => false,
            Err(TrySendError::Full(order)) => {
                let send = send.clone();
                // Until there is a place for sure.
                self.wait_for((self.posted + 1).saturating_sub(MESSAGES_WAITING as u64));
                send.try_send(order).is_ok()
            }
        }
    }

    /// Waits until all that was taken so far is on disk.
    pub fn secure(&mut self) {
        self.wait_for(self.posted);
    }

    /// Waits until so many messages are on disk, but for a disk that hangs only once.
    fn wait_for(&mut self, messages: u64) {
        let before = self.progress.spooled();
        let most = if self.stuck_at == Some(before) { Duration::ZERO } else { SPOOL_WAIT };
        let is_enough = self.progress.wait_for(messages, most);
        let is_stuck = !is_enough && self.progress.spooled() == before;
        self.stuck_at = is_stuck.then_some(before);
    }

    fn stats(&self) -> Option<WebhookStats> {
        self.running.as_ref()?;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Some(WebhookStats {
            delivered: read(&self.counted.delivered),
            retried: read(&self.counted.retried),
            dead: read(&self.counted.dead),
            evicted: read(&self.counted.evicted),
            unspooled: read(&self.counted.unspooled),
            waiting: read(&self.counted.waiting),
            lost: self.lost,
        })
    }

    /// Spools what still comes, waits at most this long for deliveries, and says of each hook what it
    /// did not get, in words for a person.
    #[must_use]
    pub fn close(self, wait: Duration) -> Vec<String> {
        let haste = self.haste;
        let Some(Running { send, thread }) = self.running else { return Vec::new() };
        drop(send);
        let Ok(mut couriers) = thread.join() else {
            return vec!["webhooks: the spool's thread failed".to_owned()];
        };
        if haste == Haste::Wait {
            // Files that were read again have told again of what stood; the rest will not come.
            couriers.iter_mut().for_each(Courier::settle);
        }
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
    mut couriers: Couriers,
    receive: &Receiver<Order>,
    progress: &Progress,
    counted: &Counted,
) -> Vec<Courier> {
    let mut batch = Vec::with_capacity(BATCH);
    while let Ok(first) = receive.recv() {
        let mut hooks = None;
        for order in std::iter::once(first).chain(receive.try_iter()) {
            match order {
                Order::Post(message) => batch.push(message),
                Order::Hooks(others) => hooks = Some(others),
            }
            if hooks.is_some() || batch.len() >= BATCH {
                break;
            }
        }
        couriers.put(&batch);
        progress.add(batch.len() as u64);
        batch.clear();
        if let Some(hooks) = hooks {
            couriers.exchange(hooks);
        }
        counted.show(&couriers);
    }
    couriers.into_running()
}

impl Counted {
    fn show(&self, couriers: &Couriers) {
        let all = couriers.counts();
        let show = |place: &AtomicU64, count: fn(&courier::Counts) -> u64| {
            place.store(count(&all), Ordering::Relaxed);
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
