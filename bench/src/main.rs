//! The figures of README: what parsing a frame and observing a record cost, and the memory a tuple takes.
//!
//! `bench/run` calls this beside the program's costs and the replay comparison. Each figure is the
//! median of several rounds in one process; records are made before the clock starts.

mod history;
mod memory;
mod mix;

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;

use xdpwatch::evidence::history::Keep;
use xdpwatch_core::watch::{Config, Watch};
use xdpwatch_prog::record::Record;
use xdpwatch_prog::wire::{Link, parse};
use xdpwatch_tools::{frames, pcap};

use mix::Mix;

const ROUNDS: usize = 7;
const BATCH: usize = 64;

/// Records measured in each round.
const MEASURED: usize = 1_000_000;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => figures(&[1_000, 1_000_000, 10_000_000]),
        ["capture", path, packets] => return capture(path, packets.parse()?),
        ["history", "off", turns] => history::turns(None, turns.parse()?),
        ["history", "on", turns] => history::turns(Some(Keep::All), turns.parse()?),
        counts => {
            let counts: Result<Vec<usize>, _> = counts.iter().map(|n| n.parse()).collect();
            figures(&counts.context(
                "xdpwatch-bench [TUPLES ...] | capture FILE PACKETS | history on|off TURNS",
            )?);
        }
    }
    Ok(())
}

/// A capture file of the control mix, for replays.
fn capture(path: &str, packets: usize) -> anyhow::Result<()> {
    let mut mix = Mix::new(100_000);
    let frames: Vec<(u64, Vec<u8>)> = (0..packets)
        .map(|_| mix.next_record())
        .map(|record| (record.at_ns, frames::ethernet(&record)))
        .collect();
    pcap::write(Path::new(path), frames.iter().map(|(at_ns, frame)| (*at_ns, frame.as_slice())))
        .with_context(|| format!("writing {path}"))
}

fn figures(counts: &[usize]) {
    println!("| what | ns, median of {ROUNDS} | least |");
    println!("|---|---|---|");
    parsing();
    history::figures();
    for count in counts {
        observing(*count);
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
