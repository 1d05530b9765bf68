//! Records change hands between workers: whoever receives a segment passes it to the worker that
//! owns its tuple, over bounded rings, one for each pair, without locks and without waiting.
//!
//! The owner takes its inputs in order of receive time: it holds records back until every worker
//! has passed that time, or a few milliseconds at most.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;
use xdpwatch_core::watch::owner;
use xdpwatch_prog::record::Record;

/// Records in a batch.
const BATCH: usize = 64;

/// Records that may be on their way to one owner, from all workers together.
const RECORDS_WAITING: usize = 1 << 18;

/// The longest that a slow worker is waited for, nanoseconds.
pub const WAIT_NS: u64 = 3_000_000;

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
        let ring = Self { full: ArrayQueue::new(batches), empty: ArrayQueue::new(batches) };
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

/// One worker's place in the exchange.
#[derive(Debug)]
pub struct Seat {
    exchange: Arc<Exchange>,
    index: usize,
    /// Batches being filled, by owner.
    staged: Vec<Option<Batch>>,
    /// Workers that were sent something since they were last told.
    sent: Vec<bool>,
    /// Records for this worker, not yet in order.
    inbox: Vec<Record>,
    seed: u64,
    released_ns: u64,
    lost: u64,
    late: u64,
}

/// A seat for each of `workers`. With `by_hash`, tuples are owned by hash; otherwise by whoever
/// receives them.
#[must_use]
pub fn seats(workers: usize, by_hash: bool, seed: u64) -> Vec<Seat> {
    let exchanging = if by_hash { workers } else { 1 };
    let batches = (RECORDS_WAITING / BATCH / exchanging.max(1)).clamp(32, 1024);
    let row = || match exchanging {
        1 => Vec::new(),
        n => (0..n).map(|_| Ring::new(batches)).collect(),
    };
    let make = |workers: usize| {
        Arc::new(Exchange {
            rings: (0..workers).map(|_| row()).collect(),
            progress_ns: (0..workers).map(|_| CachePadded::default()).collect(),
        })
    };
    let seat = |exchange: Arc<Exchange>, index| Seat {
        staged: vec![None; exchange.progress_ns.len()],
        sent: vec![false; exchange.progress_ns.len()],
        inbox: Vec::with_capacity(RECORDS_WAITING / 16),
        exchange,
        index,
        seed,
        released_ns: 0,
        lost: 0,
        late: 0,
    };
    if by_hash {
        let exchange = make(workers);
        (0..workers).map(|index| seat(Arc::clone(&exchange), index)).collect()
    } else {
        // Workers that own what they receive sit alone.
        (0..workers).map(|_| seat(make(1), 0)).collect()
    }
}

impl Seat {
    /// Takes a record that this worker received: for itself, or staged for its owner.
    pub fn give(&mut self, record: &Record) {
        let to = owner(record, self.seed, self.staged.len());
        if to == self.index {
            return self.inbox.push(*record);
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
    /// up to which nothing more is expected.
    pub fn release(&mut self, now_ns: u64, records: &mut Vec<Record>) -> u64 {
        // Progress first, batches second: what was sent before the progress is then in the inbox.
        let reached_ns = self.slowest_ns().max(now_ns.saturating_sub(WAIT_NS));
        self.take();
        self.inbox.sort_by_key(|record| record.at_ns);
        let due = self.inbox.partition_point(|record| record.at_ns <= reached_ns);
        let released_ns = self.released_ns;
        let late = self.inbox[..due].iter().take_while(|record| record.at_ns < released_ns);
        self.late += late.count() as u64;
        records.extend(self.inbox.drain(..due));
        self.released_ns = released_ns.max(reached_ns);
        self.released_ns
    }

    /// Whether every worker is done, so that one more [`Seat::release`] brings the last records.
    #[must_use]
    pub fn all_done(&self) -> bool {
        self.slowest_ns() == DONE
    }

    /// Whether records are held back.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        !self.inbox.is_empty()
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

    fn slowest_ns(&self) -> u64 {
        let progress = self.exchange.progress_ns.iter();
        progress.map(|at| at.load(Ordering::Acquire)).min().unwrap_or(DONE)
    }

    fn take(&mut self) {
        for (from, rings) in self.exchange.rings.iter().enumerate() {
            if from == self.index {
                continue;
            }
            let Some(ring) = rings.get(self.index) else { continue };
            while let Some(mut batch) = ring.full.pop() {
                self.inbox.append(&mut batch);
                let _ = ring.empty.push(batch);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record at `at_ns` whose owner depends on `port`.
    fn record(at_ns: u64, port: u16) -> Record {
        Record { at_ns, src_port: port, dst_port: 80, ..Record::default() }
    }

    /// A port whose tuple worker `to` of two owns.
    fn port_of(to: usize) -> u16 {
        (1..).find(|port| owner(&record(0, *port), 7, 2) == to).unwrap()
    }

    #[test]
    fn an_answer_never_overtakes_its_syn() {
        let mut seats = seats(2, true, 7);
        let (mut b, mut a) = (seats.pop().unwrap(), seats.pop().unwrap());
        let mine = port_of(0);
        let base = 1_000_000_000;
        let mut out = Vec::new();
        // The answer arrives at the owner's own queue; the SYN, earlier, at the other worker's.
        a.give(&record(base + 20, mine));
        a.flush(base + 20);
        a.tell_sent(|to| panic!("{to} was sent nothing"));
        a.release(base + 30, &mut out);
        assert_eq!(out, [], "the other worker has not passed that time");
        b.give(&record(base + 10, mine));
        assert!(!a.has_mail());
        b.flush(base + 25);
        let mut told = Vec::new();
        b.tell_sent(|to| told.push(to));
        b.tell_sent(|to| told.push(to));
        assert_eq!((told, a.has_mail()), (vec![0], true), "told once");
        a.release(base + 40, &mut out);
        assert_eq!(out.iter().map(|r| r.at_ns - base).collect::<Vec<_>>(), [10, 20]);
        assert_eq!((a.late(), a.lost(), b.lost()), (0, 0, 0));
    }

    #[test]
    fn a_silent_worker_is_waited_for_a_few_milliseconds_only() {
        let mut seats = seats(2, true, 7);
        let (mut b, mut a) = (seats.pop().unwrap(), seats.pop().unwrap());
        let (mine, base) = (port_of(0), 1_000_000_000);
        let mut out = Vec::new();
        a.give(&record(base, mine));
        a.flush(base);
        a.release(base + WAIT_NS, &mut out);
        assert_eq!(out.len(), 1);
        b.give(&record(base - 5, mine));
        b.flush(base);
        a.release(base + WAIT_NS + 1, &mut out);
        assert_eq!((out.len(), a.late()), (2, 1), "late, counted, not lost");
    }

    #[test]
    fn a_sleeping_worker_is_not_waited_for() {
        let mut seats = seats(2, true, 7);
        let (_b, mut a) = (seats.pop().unwrap(), seats.pop().unwrap());
        let (mine, base) = (port_of(0), 1_000_000_000);
        let mut out = Vec::new();
        a.give(&record(base, mine));
        a.flush(base + 1);
        a.vouch_for(1, base - 1);
        a.release(base + 1, &mut out);
        assert_eq!(out, [], "not vouched for that time");
        a.vouch_for(1, base + 1);
        a.release(base + 1, &mut out);
        assert_eq!(out.len(), 1);
    }

    #[test]
    fn a_full_ring_loses_and_counts() {
        let mut seats = seats(2, true, 7);
        let (b, mut a) = (seats.pop().unwrap(), seats.pop().unwrap());
        let theirs = port_of(1);
        let places = a.exchange.rings[0][1].full.capacity() * BATCH;
        for n in 0..places + 100 {
            a.give(&record(n as u64, theirs));
        }
        assert_eq!(a.lost(), 100);
        drop(b);
    }

    #[test]
    fn owners_by_queue_exchange_nothing() {
        let mut seats = seats(2, false, 7);
        let mut out = Vec::new();
        let seat = &mut seats[1];
        seat.give(&record(5, port_of(0)));
        seat.flush(6);
        seat.release(6, &mut out);
        assert_eq!((out.len(), seat.has_peers()), (1, false));
    }
}
