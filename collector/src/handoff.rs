//! Records change hands between workers: whoever receives a segment passes it to the worker that
//! owns its tuple, over bounded rings, one for each pair, without locks and without waiting.
//!
//! The owner takes its inputs in order of receive time: it holds records back until every worker
//! has passed that time, or a few milliseconds at most.

use std::collections::VecDeque;

use xdpwatch_core::watch::owner;
use xdpwatch_prog::record::Record;

use crate::concurrent::{Arc, ArrayQueue, AtomicU64, CachePadded, Ordering};

/// Records in a batch at most: enough that passing it on costs each little.
const BATCH: usize = 128;

/// Records that may be on their way to one owner, from all workers together.
const RECORDS_WAITING: usize = 1 << 18;

/// The longest that a slow worker is waited for, nanoseconds: longer than a busy processor keeps a thread off it,
/// for a record out of order makes findings wrong, and one that waits only makes them late.
pub const WAIT_NS: u64 = 50_000_000;

/// All progress: this worker will hand nothing over any more.
pub const DONE: u64 = u64::MAX;

type Batch = Vec<Record>;

/// One worker's records for one other: full batches there, empty ones back.
#[derive(Debug)]
struct Ring {
    full: ArrayQueue<Batch>,
    empty: ArrayQueue<Batch>,
}

impl Ring {
    fn new(batches: usize) -> Self {
        // A queue has one place at least.
        let places = batches.max(1);
        let ring = Self { full: ArrayQueue::new(places), empty: ArrayQueue::new(places) };
        for _ in 0..batches {
            // There is a place for each of them.
            let _ = ring.empty.push(Vec::with_capacity(BATCH));
        }
        ring
    }
}

/// What all workers share.
#[derive(Debug)]
struct Exchange {
    /// By giver, then by taker.
    rings: Vec<Vec<Ring>>,
    /// By worker: every record it received before this time has been handed over.
    progress_ns: Vec<CachePadded<AtomicU64>>,
}

/// What one worker received for another, in batches: they are merged where they lie.
#[derive(Debug, Default)]
struct Inbox {
    batches: VecDeque<Batch>,
    /// Records of the first batch that were released.
    released: usize,
}

/// One worker's place in the exchange.
#[derive(Debug)]
pub struct Seat {
    exchange: Arc<Exchange>,
    index: usize,
    /// Batches being filled, by owner.
    staged: Vec<Option<Batch>>,
    /// Workers that were sent something since they were last told.
    sent: Vec<bool>,
    /// Records for this worker by who received them, each in order of time.
    inbox: Vec<Inbox>,
    /// Empty batches for records of its own.
    spare: Vec<Batch>,
    seed: u64,
    released_ns: u64,
    lost: u64,
    late: u64,
}

/// A seat for each of `workers`. With `by_hash`, tuples are owned by hash; otherwise by whoever
/// receives them.
#[must_use]
pub fn seats(workers: usize, by_hash: bool, seed: u64) -> Vec<Seat> {
    if by_hash {
        let batches = (RECORDS_WAITING / BATCH / workers.max(1)).clamp(32, 1024);
        seats_around(workers, batches, seed)
    } else {
        // Workers that own what they receive sit alone.
        (0..workers).flat_map(|_| seats_around(1, 0, seed)).collect()
    }
}

/// Seats of workers that exchange records, with so many batches from each to each.
#[must_use]
pub fn seats_around(workers: usize, batches: usize, seed: u64) -> Vec<Seat> {
    let row = |from: usize| {
        let batches = |to: usize| if to == from { 0 } else { batches };
        (0..workers).map(|to| Ring::new(batches(to))).collect()
    };
    let exchange = Arc::new(Exchange {
        rings: (0..workers).map(row).collect(),
        progress_ns: (0..workers).map(|_| CachePadded::new(AtomicU64::new(0))).collect(),
    });
    let seat = |index| Seat {
        exchange: Arc::clone(&exchange),
        index,
        staged: vec![None; workers],
        sent: vec![false; workers],
        inbox: (0..workers).map(|_| Inbox::default()).collect(),
        spare: Vec::new(),
        seed,
        released_ns: 0,
        lost: 0,
        late: 0,
    };
    (0..workers).map(seat).collect()
}

impl Seat {
    /// Takes a record that this worker received: for itself, or staged for its owner.
    pub fn give(&mut self, record: &Record) {
        let to = owner(record, self.seed, self.staged.len());
        if to == self.index {
            return self.keep(record);
        }
        let ring = &self.exchange.rings[self.index][to];
        if self.staged[to].is_none() {
            self.staged[to] = ring.empty.pop();
        }
        let Some(batch) = &mut self.staged[to] else {
            self.lost += 1;
            return;
        };
        batch.push(*record);
        if batch.len() == BATCH {
            self.send(to);
        }
    }

    /// Whether a record for another worker would be lost now: whoever can wait, may.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        let rings = self.exchange.rings[self.index].iter().enumerate();
        rings.into_iter().any(|(to, ring)| {
            to != self.index && self.staged[to].is_none() && ring.empty.is_empty()
        })
    }

    /// Takes a record for this worker itself.
    fn keep(&mut self, record: &Record) {
        let batches = &mut self.inbox[self.index].batches;
        match batches.back_mut().filter(|batch| batch.len() < BATCH) {
            Some(batch) => batch.push(*record),
            None => {
                let mut batch = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(BATCH));
                batch.push(*record);
                batches.push_back(batch);
            }
        }
    }

    /// Sends what is staged and says that everything received before `progress_ns` is on its way.
    pub fn flush(&mut self, progress_ns: u64) {
        for to in 0..self.staged.len() {
            self.send(to);
        }
        // Release: whoever sees this progress also sees the batches sent before.
        self.exchange.progress_ns[self.index].fetch_max(progress_ns, Ordering::Release);
    }

    fn send(&mut self, to: usize) {
        if let Some(batch) = self.staged[to].take() {
            let ring = &self.exchange.rings[self.index][to];
            // As many batches exist as there are places, so there is one for this.
            if let Err(batch) = ring.full.push(batch) {
                self.lost += batch.len() as u64;
            }
            self.sent[to] = true;
        }
    }

    /// Calls `wake` for each worker that something was sent to since the last call.
    pub fn tell_sent(&mut self, mut wake: impl FnMut(usize)) {
        for (to, sent) in self.sent.iter_mut().enumerate() {
            if std::mem::take(sent) {
                wake(to);
            }
        }
    }

    /// Says for a worker that sleeps that it has handed over everything received before this.
    pub fn vouch_for(&self, worker: usize, progress_ns: u64) {
        self.exchange.progress_ns[worker].fetch_max(progress_ns, Ordering::AcqRel);
    }

    /// Whether another worker has sent something that was not taken yet.
    #[must_use]
    pub fn has_mail(&self) -> bool {
        let rings = self.exchange.rings.iter().filter_map(|rings| rings.get(self.index));
        rings.into_iter().any(|ring| !ring.full.is_empty())
    }

    /// Appends the records that are due at `now_ns` to `records`, in order of time; returns the time
    /// up to which nothing more is expected. That is never past this worker's own progress: what lies
    /// unread in its rings is still to come, however far behind it is.
    pub fn release(&mut self, now_ns: u64, records: &mut Vec<Record>) -> u64 {
        // Progress first, batches second: what was sent before the progress is then in the inbox.
        let others_ns = self.slowest_other_ns().max(now_ns.saturating_sub(WAIT_NS));
        let reached_ns = others_ns.min(self.progress_ns(self.index));
        self.take();
        while let Some((from, until_ns)) = self.earliest() {
            if !self.release_from(from, until_ns.min(reached_ns), records) {
                break;
            }
        }
        self.released_ns = self.released_ns.max(reached_ns);
        self.released_ns
    }

    /// From whom the earliest record is, and up to which time only theirs are.
    fn earliest(&self) -> Option<(usize, u64)> {
        let (mut first, mut until_ns) = (None, u64::MAX);
        for (from, inbox) in self.inbox.iter().enumerate() {
            let Some(next) = inbox.next() else { continue };
            match first {
                Some((_, at_ns)) if at_ns <= next.at_ns => until_ns = until_ns.min(next.at_ns),
                _ => {
                    until_ns = first.map_or(until_ns, |(_, at_ns)| until_ns.min(at_ns));
                    first = Some((from, next.at_ns));
                }
            }
        }
        first.map(|(from, _)| (from, until_ns))
    }

    /// Releases this worker's records up to a time, or those of its first batch; whether there was one.
    fn release_from(&mut self, from: usize, until_ns: u64, records: &mut Vec<Record>) -> bool {
        let inbox = &mut self.inbox[from];
        let Some(batch) = inbox.batches.front() else { return false };
        let waiting = &batch[inbox.released..];
        let due = waiting.iter().take_while(|record| record.at_ns <= until_ns).count();
        let released_ns = self.released_ns;
        let late = waiting[..due].iter().take_while(|record| record.at_ns < released_ns);
        self.late += late.count() as u64;
        records.extend_from_slice(&waiting[..due]);
        inbox.released += due;
        if inbox.released == batch.len() {
            inbox.released = 0;
            let batch = inbox.batches.pop_front();
            self.give_back(from, batch.unwrap_or_default());
        }
        due > 0
    }

    /// An emptied batch goes back to where the next is filled.
    fn give_back(&mut self, from: usize, mut batch: Batch) {
        batch.clear();
        if from == self.index {
            self.spare.push(batch);
        } else {
            // There is a place for each batch.
            let _ = self.exchange.rings[from][self.index].empty.push(batch);
        }
    }

    /// Whether every worker is done, so that one more [`Seat::release`] brings the last records.
    #[must_use]
    pub fn all_done(&self) -> bool {
        self.slowest_other_ns().min(self.progress_ns(self.index)) == DONE
    }

    /// Whether records are held back.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.inbox.iter().any(|inbox| !inbox.batches.is_empty())
    }

    /// Whether other workers may hand something over.
    #[must_use]
    pub fn has_peers(&self) -> bool {
        self.staged.len() > 1
    }

    /// Records lost because the owner's ring was full.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Records that came after later ones had been released.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.late
    }

    fn progress_ns(&self, worker: usize) -> u64 {
        self.exchange.progress_ns[worker].load(Ordering::Acquire)
    }

    /// The least progress among the other workers; [`DONE`] if there is none.
    fn slowest_other_ns(&self) -> u64 {
        let others = (0..self.staged.len()).filter(|worker| *worker != self.index);
        others.map(|worker| self.progress_ns(worker)).min().unwrap_or(DONE)
    }

    fn take(&mut self) {
        for (from, rings) in self.exchange.rings.iter().enumerate() {
            if from == self.index {
                continue;
            }
            let Some(ring) = rings.get(self.index) else { continue };
            self.inbox[from].batches.extend(std::iter::from_fn(|| ring.full.pop()));
        }
    }
}

impl Inbox {
    fn next(&self) -> Option<&Record> {
        self.batches.front()?.get(self.released)
    }
}

impl Drop for Seat {
    /// Whoever leaves, even by a panic, must not keep the others waiting.
    fn drop(&mut self) {
        self.exchange.progress_ns[self.index].fetch_max(DONE, Ordering::Release);
    }
}
