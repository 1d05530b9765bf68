//! Two workers beside one, with the rings that live capture hands records over by: records that come
//! to their owner, spread by the symmetric hash, and records that all come to the wrong one.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use xdpwatch::handoff::{DONE, Seat, seats};
use xdpwatch::huge_pages;
use xdpwatch_core::watch::{Output, Watch, owner};
use xdpwatch_prog::record::Record;
use xdpwatch_tools::mix::Mix;

use crate::clock::{median_and_least, thread_ns};
use crate::trace::detector;

const TUPLES: usize = 100_000;

/// Records of each run.
const RECORDS: usize = 2_000_000;

/// Records that a worker receives at once.
const BATCH: usize = 64;

/// Receipts between two words of progress to the others.
const ROUNDS_PER_FLUSH: usize = 8;

const SEED: u64 = 7;

/// Runs of each kind, in turns.
const TURNS: usize = 5;

/// Prints every row.
pub fn all() {
    let mut mix = Mix::new(TUPLES);
    let records: Vec<Record> = (0..RECORDS).map(|_| mix.next_record()).collect();
    let spread = |shift: usize| {
        let mut shares = vec![Vec::new(); 2];
        for record in &records {
            shares[(owner(record, SEED, 2) + shift) % 2].push(*record);
        }
        shares
    };
    let kinds = [
        ("one", vec![records.clone()]),
        ("two, each record at its owner", spread(0)),
        ("two, each record at the wrong one", spread(1)),
    ];
    let mut runs = [const { Vec::new() }; 3];
    let mut bounds = Vec::new();
    for _ in 0..TURNS {
        bounds.push(arithmetic(1) / arithmetic(2) * 2.0);
        kinds.iter().zip(&mut runs).for_each(|((_, shares), runs)| runs.push(run(shares)));
    }
    let (bound, _) = median_and_least(bounds);
    println!(
        "\nTwo threads of arithmetic alone do {bound:.2} times the work of one here: the bound of the \
         clock on the wall. Beside it the processor time that each worker needs, without what it waits: \
         so much faster are two with a processor each. Medians of {TURNS} runs in turns."
    );
    println!(
        "\n| workers | processor ns a record | times one worker, a processor each | \
         times one worker, by the wall | lost | late |"
    );
    println!("|---|---|---|---|---|---|");
    let of = |runs: &[Done], value: fn(&Done) -> f64| {
        let (median, _) = median_and_least(runs.iter().map(value).collect());
        median
    };
    let [busiest, wall] = [|run: &Done| run.busiest_ns, |run: &Done| run.wall_ns];
    for ((name, _), done) in kinds.iter().zip(&runs) {
        let times = |value| of(&runs[0], value) / of(done, value);
        println!(
            "| {name} | {:.0} | {:.2} | {:.2} | {} | {} |",
            of(done, |run| run.busy_ns) / RECORDS as f64,
            times(busiest),
            times(wall),
            done.iter().map(|run| run.lost).sum::<u64>(),
            done.iter().map(|run| run.late).sum::<u64>(),
        );
    }
}

/// Seconds that as many threads take, each for the same arithmetic, without memory.
fn arithmetic(threads: usize) -> f64 {
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let sum = (0..200_000_000u64)
                    .fold(1u64, |sum: u64, n| black_box(sum.wrapping_mul(31).wrapping_add(n)));
                black_box(sum)
            });
        }
    });
    began.elapsed().as_secs_f64()
}

struct Done {
    wall_ns: f64,
    /// Processor time of all workers together, and of the one that needs most: what it waits is left out.
    busy_ns: f64,
    busiest_ns: f64,
    lost: u64,
    late: u64,
}

/// One thread for each share, as live workers work.
fn run(shares: &[Vec<Record>]) -> Done {
    let barrier = Barrier::new(shares.len() + 1);
    let seats = seats(shares.len(), true, SEED);
    thread::scope(|scope| {
        let threads: Vec<_> = shares
            .iter()
            .zip(seats)
            .map(|(share, seat)| scope.spawn(|| work(share, seat, &barrier)))
            .collect();
        barrier.wait();
        let began = Instant::now();
        let ended: Vec<_> = threads.into_iter().filter_map(|thread| thread.join().ok()).collect();
        let wall_ns = began.elapsed().as_nanos() as f64;
        Done {
            wall_ns,
            busy_ns: ended.iter().map(|(_, busy_ns)| busy_ns).sum(),
            busiest_ns: ended.iter().map(|(_, busy_ns)| *busy_ns).fold(0.0, f64::max),
            lost: ended.iter().map(|(seat, _)| seat.lost()).sum(),
            late: ended.iter().map(|(seat, _)| seat.late()).sum(),
        }
    })
}

/// A worker's detector, and what it has not needed of its time.
struct Taker {
    watch: Watch,
    due: Vec<Record>,
    out: Vec<Output>,
    waited_ns: u64,
}

impl Taker {
    fn new() -> Self {
        let watch = detector(2 * TUPLES);
        huge_pages::advise(&watch);
        let (due, out) = (Vec::with_capacity(1 << 14), Vec::with_capacity(1 << 12));
        Self { watch, due, out, waited_ns: 0 }
    }

    /// Observes what is due.
    fn take(&mut self, seat: &mut Seat) {
        seat.release(0, &mut self.due);
        self.watch.observe(&self.due, &mut self.out);
        self.due.clear();
        self.out.clear();
    }

    /// The same, and lets others run if nothing was due.
    fn wait(&mut self, seat: &mut Seat) {
        let began_ns = thread_ns();
        let before = self.watch.counters().records;
        self.take(seat);
        if self.watch.counters().records == before {
            thread::yield_now();
            self.waited_ns += thread_ns() - began_ns;
        }
    }
}

/// Time here is that of the records: a worker has passed a time when it has given all before it.
fn work(share: &[Record], mut seat: Seat, barrier: &Barrier) -> (Seat, f64) {
    let mut taker = Taker::new();
    barrier.wait();
    let began_ns = thread_ns();
    for (round, batch) in share.chunks(BATCH).enumerate() {
        // A NIC would lose what it has no place for; here every record is to arrive.
        while seat.is_congested() {
            taker.wait(&mut seat);
        }
        batch.iter().for_each(|record| seat.give(record));
        // As often as under full load: see `live::lane`.
        if round % ROUNDS_PER_FLUSH == 0 {
            seat.flush(batch.last().map_or(0, |record| record.at_ns));
        }
        taker.take(&mut seat);
    }
    seat.flush(DONE);
    while !seat.all_done() {
        taker.wait(&mut seat);
    }
    taker.take(&mut seat);
    let busy_ns = (thread_ns() - began_ns).saturating_sub(taker.waited_ns);
    (seat, busy_ns as f64)
}
