//! Fixed traces, run once, for counting instructions: `bench/instructions` runs each of them under
//! callgrind and compares with `bench/baseline.csv`. Only what `measured` calls is counted.

use std::hint::black_box;

use anyhow::bail;
use xdpwatch_core::watch::{Config, Output, Watch};
use xdpwatch_prog::record::Record;
use xdpwatch_prog::wire::{Link, parse_record};
use xdpwatch_tools::frames;
use xdpwatch_tools::mix::Mix;

/// Connections of every trace, and records or frames counted.
const TUPLES: usize = 10_000;
const COUNTED: usize = 60_000;
const BATCH: usize = 64;

const NAMES: [&str; 4] = ["parse", "observe", "parse_observe", "syn_flood"];

/// Runs a trace and prints how many records it had; its work is done in a function named `measured`.
///
/// # Errors
/// An unknown name.
pub fn run(name: &str) -> anyhow::Result<()> {
    let mut mix = Mix::new(TUPLES);
    let mut watch = detector(2 * TUPLES);
    let mut out = Vec::with_capacity(1 << 12);
    let filling: Vec<Record> = std::iter::from_fn(|| mix.fill()).collect();
    watch.observe(&filling, &mut out);
    out.clear();
    let records: Vec<Record> = (0..COUNTED).map(|_| mix.next_record()).collect();
    let frames: Vec<Vec<u8>> = records.iter().map(frames::ethernet).collect();
    match name {
        "parse" => measured(|| {
            for frame in &frames {
                black_box(parse(frame, 0));
            }
        }),
        "observe" => measured(|| observe(&mut watch, &records, &mut out)),
        "parse_observe" => measured(|| {
            let mut batch = Vec::with_capacity(BATCH);
            for (frames, records) in frames.chunks(BATCH).zip(records.chunks(BATCH)) {
                batch.clear();
                let with_times = frames.iter().zip(records);
                batch.extend(with_times.filter_map(|(frame, record)| parse(frame, record.at_ns)));
                observe(&mut watch, &batch, &mut out);
            }
        }),
        "syn_flood" => {
            let flood: Vec<Record> = (0..COUNTED as u32).map(|n| mix.stranger(n)).collect();
            measured(|| observe(&mut watch, &flood, &mut out));
        }
        other => bail!("no trace {other}; there are {}", NAMES.join(", ")),
    }
    println!("{COUNTED}");
    Ok(())
}

#[inline(never)]
fn measured(work: impl FnOnce()) {
    work();
}

fn parse(frame: &[u8], at_ns: u64) -> Option<Record> {
    parse_record(black_box(frame), frame.len() as u32, at_ns, Link::Ethernet).ok()
}

fn observe(watch: &mut Watch, records: &[Record], out: &mut Vec<Output>) {
    for batch in records.chunks(BATCH) {
        watch.observe(batch, out);
        out.clear();
    }
}

/// A detector for `max_tuples`, with the choices and seeds of all benches.
pub fn detector(max_tuples: usize) -> Watch {
    Watch::new(Config { max_tuples, seeds: [11, 12, 13, 14], ..Config::default() })
}
