//! What remembering headers for evidence costs: parse and observe with and without it, in turns.

use std::hint::black_box;

use xdpwatch::evidence::history::{History, Keep};
use xdpwatch_core::watch::{Output, Watch};
use xdpwatch_prog::record::Record;
use xdpwatch_prog::wire::{Link, parse};
use xdpwatch_tools::frames;
use xdpwatch_tools::mix::Mix;

use crate::clock::{median_and_least, timed};
use crate::trace::detector;

/// Live tuples: small enough that most of what is measured is not waiting for the table.
const TUPLES: usize = 10_000;

const BATCH: usize = 64;

/// Records in one turn.
const TURN: usize = 200_000;

/// Turns of each kind.
const TURNS: usize = 15;

/// A packet path without its NIC.
struct Path {
    watch: Watch,
    history: Option<History>,
    records: Vec<Record>,
    out: Vec<Output>,
}

impl Path {
    fn new(keep: Option<Keep>) -> Self {
        Self {
            watch: detector(2 * TUPLES),
            history: keep.map(|keep| History::new(1 << 16, 0, keep, 9)),
            records: Vec::with_capacity(BATCH),
            out: Vec::with_capacity(1 << 16),
        }
    }

    /// Parses, remembers and observes.
    fn take(&mut self, frames: &[(u64, Vec<u8>)]) {
        for batch in frames.chunks(BATCH) {
            self.records.clear();
            for (at_ns, frame) in batch {
                let parsed = parse(frame, frame.len() as u32, *at_ns, Link::Ethernet);
                let Ok(parsed) = parsed else { continue };
                if let Some(history) = &mut self.history {
                    history.put(&parsed.record, Link::Ethernet, &frame[..parsed.header_end]);
                }
                self.records.push(parsed.record);
            }
            self.watch.observe(&self.records, &mut self.out);
            self.out.clear();
        }
        black_box(self.watch.counters());
    }
}

fn frames(mix: &mut Mix) -> Vec<(u64, Vec<u8>)> {
    let records = (0..TURN).map(|_| mix.next_record());
    records.map(|record| (record.at_ns, frames::ethernet(&record))).collect()
}

/// Prints every row.
pub fn all() {
    println!("\n| what | ns, median of {TURNS} | least |");
    println!("|---|---|---|");
    for (keep, name) in [(Keep::All, "selected by the program"), (Keep::Transitions, "files")] {
        let mut mix = Mix::new(TUPLES);
        let (mut off, mut on) = (Path::new(None), Path::new(Some(keep)));
        let mut differences = Vec::new();
        for turn in 0..TURNS {
            let frames = frames(&mut mix);
            let time = |path: &mut Path| timed(|| path.take(&frames)) / TURN as f64;
            // Whoever comes second finds the frames in the cache.
            let (without, with) = if turn % 2 == 0 {
                let without = time(&mut off);
                (without, time(&mut on))
            } else {
                let with = time(&mut on);
                (time(&mut off), with)
            };
            differences.push(with - without);
        }
        let (median, least) = median_and_least(differences);
        println!(
            "| remember headers for evidence ({name}), more than without | {median:.1} | {least:.1} |"
        );
    }
    println!("| memory of the history | {} bytes per segment | |", History::BYTES_EACH);
}
