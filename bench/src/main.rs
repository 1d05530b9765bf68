//! The figures of README: what parsing a frame and observing a record cost, and the memory a tuple takes.
//!
//! `bench/run` calls this beside the program's costs, `bench/compare` for its capture files and
//! `bench/instructions` for its traces. Whatever is measured is made before the clock starts.

mod clock;
mod exchange;
mod figures;
mod filter;
mod history;
mod memory;
mod scrape;
mod state;
mod tables;
mod trace;

use std::path::Path;

use anyhow::Context;

use xdpwatch_tools::mix::Mix;
use xdpwatch_tools::{frames, pcap};

const USAGE: &str = "xdpwatch-bench [observe [TUPLES ...] | tables [ENTRIES ...] | history | exchange | filter | \
     memory TUPLES | tuples FILE TUPLES | state TUPLES FILE | trace NAME | capture FILE PACKETS \
     [DATA_SEGMENTS]]";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => {
            figures::all(&[1_000, 100_000, 1_000_000, 10_000_000]);
            history::all()?;
            tables::all(&[100_000, 1_000_000, 10_000_000]);
            exchange::all();
            filter::all();
            memory::of_tuples(10_000_000);
        }
        ["observe", counts @ ..] => figures::all(&numbers(counts)?),
        ["tables", counts @ ..] => tables::all(&numbers(counts)?),
        ["history"] => history::all()?,
        ["exchange"] => exchange::all(),
        ["filter"] => filter::all(),
        ["memory", count] => memory::of_tuples(count.parse().context(USAGE)?),
        ["state", count, path] => {
            state::of_tuples(count.parse().context(USAGE)?, Path::new(path))?;
        }
        ["tuples", path, count] => {
            memory::capture(Path::new(path), count.parse().context(USAGE)?)
                .with_context(|| format!("writing {path}"))?;
        }
        ["trace", name] => trace::run(name)?,
        ["capture", path, packets] => capture(path, packets.parse().context(USAGE)?, 0)?,
        ["capture", path, packets, data] => {
            capture(path, packets.parse().context(USAGE)?, data.parse().context(USAGE)?)?;
        }
        _ => anyhow::bail!(USAGE),
    }
    Ok(())
}

fn numbers(words: &[&str]) -> anyhow::Result<Vec<usize>> {
    words.iter().map(|word| word.parse().context(USAGE)).collect()
}

/// A capture file of the control mix, for replays; with so many segments of data in each connection.
fn capture(path: &str, packets: usize, data: u16) -> anyhow::Result<()> {
    // With data, connections few enough that most of them are long open.
    let mut mix = Mix::new(if data == 0 { 100_000 } else { 2_000 }).with_data(data);
    let frames: Vec<(u64, Vec<u8>)> = (0..packets)
        .map(|_| mix.next_record())
        .map(|record| (record.at_ns, frames::ethernet(&record)))
        .collect();
    pcap::write(Path::new(path), frames.iter().map(|(at_ns, frame)| (*at_ns, frame.as_slice())))
        .with_context(|| format!("writing {path}"))
}
