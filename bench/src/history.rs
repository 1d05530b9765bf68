//! What evidence and metrics cost the packet path: parsing and observing with each of them and without, in
//! turns; and what it would cost to do nothing but write as many bytes into as long a ring.

use std::hint::black_box;
use std::sync::{Arc, PoisonError};

use xdpwatch::evidence::history::{History, Keep};
use xdpwatch::stats::DetectorStats;
use xdpwatch_core::watch::{Output, Watch};
use xdpwatch_prog::record::Record;
use xdpwatch_prog::wire::{Link, Parsed, parse};
use xdpwatch_tools::mix::Mix;

use crate::clock::{median_and_least, timed};
use crate::figures::Frames;
use crate::scrape::Scraper;
use crate::trace::detector;

/// Live tuples: small enough that most of what is measured is not waiting for the table.
const TUPLES: usize = 10_000;

const BATCH: usize = 64;

/// Segments remembered: what `--history` is unless said otherwise.
const DEPTH: usize = 1 << 16;

/// Records in one turn: the worker shows its numbers once in each, as a live one does in 100 ms.
const TURN: usize = 20_000;

/// Turns of each kind.
const TURNS: usize = 125;

/// Each kind of packet path, and whether metrics are fetched meanwhile.
const KINDS: [(&str, bool); 5] = [
    ("neither", false),
    ("history", false),
    ("metrics", true),
    ("history and metrics", true),
    ("floor of history", false),
];

/// What is done with a segment's headers.
enum Remember {
    Nothing,
    History(Box<History>),
    /// The bytes that a segment takes in the history are written, and no more.
    Floor {
        ring: Box<[u8]>,
        at: usize,
    },
}

impl Remember {
    #[inline]
    fn take(&mut self, record: &Record, headers: &[u8]) {
        match self {
            Self::Nothing => {}
            Self::History(history) => history.put(record, Link::Ethernet, headers),
            Self::Floor { ring, at } => {
                const LEN: usize = 66;
                const BESIDE: usize = History::BYTES_EACH - 80;
                if *at + LEN + BESIDE > ring.len() {
                    *at = 0;
                }
                let (to, rest) = ring[*at..].split_at_mut(LEN);
                if let (Some(to), Some(headers)) =
                    (to.first_chunk_mut(), headers.first_chunk::<LEN>())
                {
                    *to = *headers;
                }
                rest[..BESIDE].copy_from_slice(&[record.ttl; BESIDE]);
                *at += LEN + BESIDE;
            }
        }
    }
}

/// A packet path without its NIC.
struct Path {
    watch: Watch,
    remember: Remember,
    scraper: Arc<Scraper>,
    records: Vec<Record>,
    out: Vec<Output>,
}

impl Path {
    fn new(remember: Remember, scraper: &Arc<Scraper>) -> Self {
        Self {
            watch: detector(2 * TUPLES),
            remember,
            scraper: Arc::clone(scraper),
            records: Vec::with_capacity(BATCH),
            out: Vec::with_capacity(1 << 16),
        }
    }

    /// Parses, remembers and observes.
    fn take(&mut self, frames: &Frames) {
        let mut frames = frames.iter();
        loop {
            self.records.clear();
            for (at_ns, frame) in frames.by_ref().take(BATCH) {
                let parsed = parse(frame, frame.len() as u32, at_ns, Link::Ethernet);
                let Ok(Parsed { record, header_end }) = parsed else { continue };
                self.remember.take(&record, &frame[..header_end]);
                self.records.push(record);
            }
            if self.records.is_empty() {
                break;
            }
            self.watch.observe(&self.records, &mut self.out);
            self.out.clear();
        }
        let (counters, occupancy) = (self.watch.counters(), self.watch.occupancy());
        let remembered_ns = self.watch.remembered_ns();
        *self.scraper.shown.lock().unwrap_or_else(PoisonError::into_inner) =
            DetectorStats { counters, occupancy, remembered_ns };
    }
}

/// Prints every row.
pub fn all() -> anyhow::Result<()> {
    let scraper = Scraper::start()?;
    println!("\n| more than without, ns a record: median of {TURNS} (least) | live | files |");
    println!("|---|---|---|");
    let columns = [Keep::All, Keep::Transitions].map(|keep| column(keep, &scraper));
    for (kind, (name, _)) in KINDS.iter().enumerate().skip(1) {
        let cell = |column: &[(f64, f64)]| format!("{:.1} ({:.1})", column[kind].0, column[kind].1);
        println!("| {name} | {} | {} |", cell(&columns[0]), cell(&columns[1]));
    }
    let [live, files] = [0, 1].map(|n| columns[n][0].0);
    println!("| neither: parse and observe in all | {live:.1} | {files:.1} |");
    println!("\nMetrics were fetched {} times meanwhile.", scraper.scrapes());
    println!("Memory of the history: {} bytes per segment.", History::BYTES_EACH);
    Ok(())
}

/// For each kind the median and the least of what it takes more than the first, which stands for itself.
fn column(keep: Keep, scraper: &Arc<Scraper>) -> Vec<(f64, f64)> {
    let mut mix = Mix::new(TUPLES);
    let history = || Remember::History(Box::new(History::new(DEPTH, 0, keep, 9)));
    let floor = vec![0; DEPTH * History::BYTES_EACH].into_boxed_slice();
    let mut paths = [
        Remember::Nothing,
        history(),
        Remember::Nothing,
        history(),
        Remember::Floor { ring: floor, at: 0 },
    ]
    .map(|remember| Path::new(remember, scraper));
    let mut columns = vec![Vec::new(); KINDS.len()];
    // The first turn only fills the rings.
    for turn in 0..=TURNS {
        let frames = Frames::of(&(0..TURN).map(|_| mix.next_record()).collect::<Vec<_>>());
        black_box(frames.iter().map(|(_, frame)| u64::from(frame[0])).sum::<u64>());
        let mut ns = [0.0; KINDS.len()];
        for step in 0..KINDS.len() {
            let kind = (turn + step) % KINDS.len();
            scraper.switch(KINDS[kind].1);
            ns[kind] = timed(|| paths[kind].take(&frames)) / TURN as f64;
        }
        scraper.switch(false);
        if turn > 0 {
            columns[0].push(ns[0]);
            (1..KINDS.len()).for_each(|kind| columns[kind].push(ns[kind] - ns[0]));
        }
    }
    columns.into_iter().map(median_and_least).collect()
}
