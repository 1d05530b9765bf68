//! The figures of README: what parsing a frame and observing a record cost, and the memory a tuple takes.
//!
//! `bench/run` calls this beside the program's costs and the replay comparison. Each figure is the
//! median of several rounds in one process; records are made before the clock starts.

mod memory;
mod mix;

use std::hint::black_box;
use std::time::Instant;

use xdpwatch_core::watch::{Config, Watch};
use xdpwatch_prog::record::Record;
use xdpwatch_prog::wire::{Link, parse};
use xdpwatch_tools::frames;

use mix::Mix;

const ROUNDS: usize = 7;
const BATCH: usize = 64;

/// Records measured in each round.
const MEASURED: usize = 1_000_000;

fn main() {
    let tuples: Vec<usize> = std::env::args().skip(1).filter_map(|n| n.parse().ok()).collect();
    let tuples = if tuples.is_empty() { vec![1_000, 1_000_000, 10_000_000] } else { tuples };
    println!("| what | ns, median of {ROUNDS} | least |");
    println!("|---|---|---|");
    parsing();
    for count in tuples {
        observing(count);
    }
}

fn row(what: &str, mut rounds: Vec<f64>) {
    rounds.sort_by(f64::total_cmp);
    println!("| {what} | {:.1} | {:.1} |", rounds[rounds.len() / 2], rounds[0]);
}

/// Ethernet, IPv4, TCP with timestamps: the frame that xdpwatch sees most.
fn parsing() {
    let mut mix = Mix::new(1_000);
    let frames: Vec<Vec<u8>> = (0..4_096).map(|_| frames::ethernet(&mix.next_record())).collect();
    let rounds = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            for n in 0..MEASURED {
                let frame = &frames[n % frames.len()];
                let parsed = parse(black_box(frame), frame.len() as u32, 0, Link::Ethernet);
                black_box(parsed.is_ok());
            }
            began.elapsed().as_nanos() as f64 / MEASURED as f64
        })
        .collect();
    row("parse a frame (control mix, in cache)", rounds);
}

/// Records of random live tuples through the detector, in batches.
fn observing(tuples: usize) {
    let mut mix = Mix::new(tuples);
    let mut out = Vec::with_capacity(1 << 16);
    let mut batch = Vec::with_capacity(BATCH);
    let before = memory::resident_bytes();
    let mut watch = Watch::new(Config {
        max_tuples: tuples + tuples / 8,
        horizon_ns: 300_000_000_000,
        vlan_key: false,
        all_reuse: false,
        seeds: [11, 12, 13, 14],
    });
    loop {
        batch.clear();
        batch.extend(std::iter::from_fn(|| mix.fill()).take(BATCH));
        if batch.is_empty() {
            break;
        }
        watch.observe(&batch, &mut out);
        out.clear();
    }
    let used = watch.census().used();
    let bytes = memory::resident_bytes().saturating_sub(before) as f64;
    let rounds = (0..ROUNDS)
        .map(|_| {
            let records: Vec<Record> = (0..MEASURED).map(|_| mix.next_record()).collect();
            let began = Instant::now();
            for batch in records.chunks(BATCH) {
                watch.observe(batch, &mut out);
                out.clear();
            }
            began.elapsed().as_nanos() as f64 / MEASURED as f64
        })
        .collect();
    row(&format!("observe a record, {tuples} live tuples, random order, batch of {BATCH}"), rounds);
    println!("| memory with {used} tuples | {:.0} bytes per tuple | |", bytes / used as f64);
    let counters = watch.counters();
    let refused = counters.table_refused * 1000 / counters.connections.max(1);
    assert_eq!(refused, 0, "the bench must not measure refusals");
}
