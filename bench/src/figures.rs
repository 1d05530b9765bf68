//! Parser and detector on the control mix: in a table with room, and in one that is full, where every
//! newcomer takes the place of a closed tuple past its model's deadline.

use std::hint::black_box;
use std::time::Instant;

use xdpwatch::huge_pages;
use xdpwatch_core::watch::{Output, Watch};
use xdpwatch_prog::record::Record;
use xdpwatch_prog::wire::{Link, parse_record};
use xdpwatch_tools::frames;
use xdpwatch_tools::mix::Mix;

use crate::clock::{median_and_least, timed};
use crate::memory;
use crate::trace::detector;

const ROUNDS: usize = 7;
const BATCH: usize = 64;

/// Frames made at once: few enough to lie in the cache, as those of a receive ring do.
const CHUNK: usize = 8_192;

/// Chunks of a round.
const CHUNKS: usize = 24;

/// Prints every row.
pub fn all(counts: &[usize]) {
    println!("\n| what | ns, median of {ROUNDS} | least | p99.9 of a batch of {BATCH} |");
    println!("|---|---|---|---|");
    parsing();
    for count in counts {
        let newcomers = (ROUNDS + 1) * CHUNKS * CHUNK / 6;
        observing(*count, count + count / 4 + newcomers, "room");
        observing(*count, count + count / 32, "full");
    }
}

/// The mix's next frames, one after the other in one piece of memory, and their times.
pub struct Frames {
    bytes: Vec<u8>,
    ends: Vec<(usize, u64)>,
}

impl Frames {
    /// The frames of these records.
    pub fn of(records: &[Record]) -> Self {
        let mut frames = Self { bytes: Vec::new(), ends: Vec::with_capacity(records.len()) };
        for record in records {
            frames.bytes.extend(frames::ethernet(record));
            frames.ends.push((frames.bytes.len(), record.at_ns));
        }
        frames
    }

    /// Each frame with its time.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let begins = std::iter::once(0).chain(self.ends.iter().map(|(end, _)| *end));
        begins.zip(&self.ends).map(|(begin, (end, at_ns))| (*at_ns, &self.bytes[begin..*end]))
    }

    /// Parses all of them; `take` gets the records in batches.
    fn parse(&self, batch: &mut Vec<Record>, mut take: impl FnMut(&[Record])) {
        let mut begin = 0;
        for ends in self.ends.chunks(BATCH) {
            batch.clear();
            for (end, at_ns) in ends {
                let frame = &self.bytes[begin..*end];
                let parsed = parse_record(frame, frame.len() as u32, *at_ns, Link::Ethernet);
                batch.extend(parsed.ok());
                begin = *end;
            }
            take(batch);
        }
    }
}

/// Ethernet, IPv4, TCP with timestamps: the frame that xdpwatch sees most.
fn parsing() {
    let mut mix = Mix::new(1_000);
    let records: Vec<Record> = (0..CHUNK).map(|_| mix.next_record()).collect();
    let frames = Frames::of(&records);
    let mut batch = Vec::with_capacity(BATCH);
    let mut round = || {
        let ns = timed(|| {
            for _ in 0..CHUNKS {
                frames.parse(&mut batch, |records| {
                    black_box(records.len());
                });
            }
        });
        ns / (CHUNKS * CHUNK) as f64
    };
    round();
    let (median, least) = median_and_least((0..ROUNDS).map(|_| round()).collect());
    println!("| parse a frame (control mix, in cache) | {median:.1} | {least:.1} | |");
}

/// Frames of random live tuples through parser and detector, in batches.
fn observing(tuples: usize, max_tuples: usize, state: &str) {
    let mut mix = Mix::new(tuples);
    let mut out = Vec::with_capacity(1 << 16);
    let before = memory::resident_bytes();
    let mut watch = detector(max_tuples);
    huge_pages::advise(&watch);
    fill(&mut watch, &mut mix, &mut out);
    let used = watch.occupancy().used();
    let resident = memory::resident_bytes();
    let mut ns = [Vec::new(), Vec::new()];
    let mut batches = Vec::with_capacity(ROUNDS * CHUNKS * CHUNK / BATCH);
    for round in 0..=ROUNDS {
        let both = self::round(&mut watch, &mut mix, &mut out, &mut batches);
        if round > 0 {
            ns.iter_mut().zip(both).for_each(|(all, one)| all.push(one));
        }
    }
    batches.sort_unstable();
    let tail_us = batches[batches.len() * 999 / 1000] as f64 / 1000.0;
    let [observe, both] = ns.map(median_and_least);
    let name = format!("{tuples} live tuples, {state}");
    println!(
        "| observe a record, {name} | {:.1} | {:.1} | {tail_us:.1} us |",
        observe.0, observe.1
    );
    println!("| parse and observe, {name} | {:.1} | {:.1} | |", both.0, both.1);
    let bytes = resident.saturating_sub(before) as f64 / used as f64;
    println!(
        "| memory, {name} | {bytes:.0} bytes for each of {used} | process {} MB | |",
        resident / 1_000_000
    );
    let counters = watch.counters();
    // A newcomer that finds both its groups full of what may not go is refused, and its other
    // segments are then picked up in mid-stream: seldom enough not to be what is measured.
    let odd = counters.table_refused + counters.mid_stream;
    assert!(odd * 1000 < counters.connections, "the bench must not measure refusals: {counters:?}");
}

fn fill(watch: &mut Watch, mix: &mut Mix, out: &mut Vec<Output>) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        batch.clear();
        batch.extend(std::iter::from_fn(|| mix.fill()).take(BATCH));
        if batch.is_empty() {
            return;
        }
        watch.observe(&batch, out);
        out.clear();
    }
}

/// Nanoseconds per record of observing alone, and of parsing and observing; times of the batches.
fn round(
    watch: &mut Watch,
    mix: &mut Mix,
    out: &mut Vec<Output>,
    batches: &mut Vec<u64>,
) -> [f64; 2] {
    let mut batch = Vec::with_capacity(BATCH);
    let mut ns = [0.0; 2];
    for _ in 0..CHUNKS / 2 {
        let records: Vec<Record> = (0..CHUNK).map(|_| mix.next_record()).collect();
        ns[0] += timed(|| {
            for batch in records.chunks(BATCH) {
                let began = Instant::now();
                watch.observe(batch, out);
                out.clear();
                batches.push(began.elapsed().as_nanos() as u64);
            }
        });
        let records: Vec<Record> = (0..CHUNK).map(|_| mix.next_record()).collect();
        let frames = Frames::of(&records);
        ns[1] += timed(|| {
            frames.parse(&mut batch, |records| {
                watch.observe(records, out);
                out.clear();
            });
        });
    }
    ns.map(|ns| ns / (CHUNKS / 2 * CHUNK) as f64)
}
