//! Two workers beside one, with the rings that live capture hands records over by: records that come
//! to their owner, spread by the symmetric hash, and records that all come to the wrong one.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use xdpwatch::handoff::{DONE, Seat, seats};
use xdpwatch::huge_pages;
use xdpwatch_core::watch::owner;
use xdpwatch_prog::record::Record;
use xdpwatch_tools::mix::Mix;

use crate::trace::detector;

const TUPLES: usize = 100_000;

/// Records of each run.
const RECORDS: usize = 2_000_000;

/// Records that a worker receives at once.
const BATCH: usize = 64;

/// Receipts between two words of progress to the others.
const ROUNDS_PER_FLUSH: usize = 8;

const SEED: u64 = 7;

/// Prints every row.
pub fn all() {
    let mut mix = Mix::new(TUPLES);
    let records: Vec<Record> = (0..RECORDS).map(|_| mix.next_record()).collect();
    let spread = |shift: usize| {
        let mut shares = [Vec::new(), Vec::new()];
        for record in &records {
            shares[(owner(record, SEED, 2) + shift) % 2].push(*record);
        }
        shares
    };
    let bound = arithmetic(1) / arithmetic(2) * 2.0;
    println!(
        "\nTwo threads of arithmetic alone do {bound:.2} times the work of one here: the bound."
    );
    let one = run(std::slice::from_ref(&records));
    println!("\n| workers | million records/s | times one worker | lost | late |");
    println!("|---|---|---|---|---|");
    for (name, done) in [
        ("one", &one),
        ("two, each record at its owner", &run(&spread(0))),
        ("two, each record at the wrong one", &run(&spread(1))),
    ] {
        let rate = RECORDS as f64 / done.seconds / 1e6;
        let times = one.seconds / done.seconds;
        println!("| {name} | {rate:.2} | {times:.2} | {} | {} |", done.lost, done.late);
    }
}

/// Seconds that as many threads take, each for the same arithmetic, without memory.
fn arithmetic(threads: usize) -> f64 {
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let sum = (0..500_000_000u64)
                    .fold(1u64, |sum: u64, n| black_box(sum.wrapping_mul(31).wrapping_add(n)));
                black_box(sum)
            });
        }
    });
    began.elapsed().as_secs_f64()
}

struct Done {
    seconds: f64,
    lost: u64,
    late: u64,
}

/// One thread for each share, as live workers work; wall time, since they wait for each other.
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
        let seconds = began.elapsed().as_secs_f64();
        let (lost, late) =
            ended.iter().fold((0, 0), |sum, seat| (sum.0 + seat.lost(), sum.1 + seat.late()));
        Done { seconds, lost, late }
    })
}

/// Time here is that of the records: a worker has passed a time when it has given all before it.
fn work(share: &[Record], mut seat: Seat, barrier: &Barrier) -> Seat {
    let mut watch = detector(2 * TUPLES);
    huge_pages::advise(&watch);
    let mut out = Vec::with_capacity(1 << 12);
    let mut due = Vec::with_capacity(1 << 14);
    let mut observe = |seat: &mut Seat| {
        seat.release(0, &mut due);
        watch.observe(&due, &mut out);
        due.clear();
        out.clear();
    };
    barrier.wait();
    for (round, batch) in share.chunks(BATCH).enumerate() {
        // A NIC would lose what it has no place for; here every record is to arrive.
        while seat.is_congested() {
            observe(&mut seat);
            thread::yield_now();
        }
        batch.iter().for_each(|record| seat.give(record));
        // As often as under full load: see `live::lane`.
        if round % ROUNDS_PER_FLUSH == 0 {
            seat.flush(batch.last().map_or(0, |record| record.at_ns));
        }
        observe(&mut seat);
    }
    seat.flush(DONE);
    while !seat.all_done() {
        observe(&mut seat);
        thread::yield_now();
    }
    observe(&mut seat);
    seat
}
