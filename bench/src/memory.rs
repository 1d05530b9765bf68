//! How much memory this process has resident, and how much it has with very many tuples and nothing
//! else in it: no trace is kept, each record is made when it is its turn.

use std::io;
use std::path::Path;

use xdpwatch::huge_pages;
use xdpwatch_core::watch::{Output, Watch};
use xdpwatch_prog::record::Record;
use xdpwatch_tools::mix::Mix;
use xdpwatch_tools::{frames, pcap};

use crate::trace::detector;

const BATCH: usize = 64;

/// When the first tuple is seen: any date will do.
pub const BEGIN_NS: u64 = 1 << 60;

/// Bytes resident, from `/proc/self/statm`; 0 where there is none.
pub fn resident_bytes() -> usize {
    const PAGE: usize = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * PAGE
}

/// Prints what this process has resident with so many tuples.
pub fn of_tuples(tuples: usize) {
    let watch = filled(tuples);
    let (used, resident) = (watch.occupancy().used(), resident_bytes());
    println!("\n| memory of the whole process | |");
    println!("|---|---|");
    println!("| {used} IPv4 tuples | {} MB resident |", resident / 1_000_000);
}

/// A detector with `tuples` IPv4 tuples, half of them open and half closed, and a thirty-second more
/// room in its table.
pub fn filled(tuples: usize) -> Watch {
    let mut watch = detector(tuples + tuples / 32);
    huge_pages::advise(&watch);
    let mut out = Vec::with_capacity(1 << 12);
    let mut batch = Vec::with_capacity(BATCH);
    for record in segments(tuples) {
        batch.push(record);
        if batch.len() == BATCH {
            take(&mut watch, &mut batch, &mut out);
        }
    }
    take(&mut watch, &mut batch, &mut out);
    watch
}

/// Writes a capture file of as many tuples, half of them open and half closed, for the whole program.
/// Frames are made once and get their addresses, not their checksums: they are for a parser.
///
/// # Errors
/// Those of writing it.
pub fn capture(path: &Path, tuples: usize) -> io::Result<()> {
    const SOURCE_AT: usize = 14 + 12;
    let lives: Vec<(Record, Vec<u8>)> =
        lives().into_iter().map(|record| (record, frames::ethernet(&record))).collect();
    let frames = (0..(tuples / 2) as u32).flat_map(|pair| {
        lives.iter().map(move |(record, frame)| {
            let (record, mut frame) = (of_pair(record, pair), frame.clone());
            frame[SOURCE_AT..][..4].copy_from_slice(&record.src_addr[12..]);
            frame[SOURCE_AT + 4..][..4].copy_from_slice(&record.dst_addr[12..]);
            (record.at_ns, frame)
        })
    });
    pcap::write(path, frames)
}

/// Connections on as many tuples, every other one closed.
fn segments(tuples: usize) -> impl Iterator<Item = Record> {
    let lives = lives();
    (0..(tuples / 2) as u32)
        .flat_map(move |pair| lives.iter().map(|record| of_pair(record, pair)).collect::<Vec<_>>())
}

/// The segments of two connections, one open in the end and one closed.
fn lives() -> Vec<Record> {
    let mut mix = Mix::new(2);
    std::iter::from_fn(|| mix.fill()).collect()
}

/// The same segment of another connection, a little later.
fn of_pair(record: &Record, pair: u32) -> Record {
    let mut record = *record;
    record.at_ns = BEGIN_NS + u64::from(pair) * 4_000;
    let client = if record.dst_port == 80 { &mut record.src_addr } else { &mut record.dst_addr };
    let address = u32::from_be_bytes([client[12], client[13], client[14], client[15]]);
    let other = address ^ pair.wrapping_mul(2_654_435_761);
    client[12..].copy_from_slice(&other.to_be_bytes());
    record
}

fn take(watch: &mut Watch, batch: &mut Vec<Record>, out: &mut Vec<Output>) {
    watch.observe(batch, out);
    out.clear();
    batch.clear();
}
