//! One worker's detector: its flow table, its rules, its counters. Records in, outputs out.
//!
//! It owns a share of all tuples (see [`owner`]) and never looks at another worker's.

use alloc::vec::Vec;

use xdpwatch_prog::record::Record;

use crate::finding::Finding;

/// Sizes and choices, fixed at start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Tuples held at most, by this worker.
    pub max_tuples: usize,
    /// How long closed tuples are remembered while there is room.
    pub horizon_ns: u64,
    /// Whether the VLAN ids are part of the tuple.
    pub vlan_key: bool,
    /// Whether accepted reuse becomes a finding too.
    pub all_reuse: bool,
    /// Seeds of the table's hash; random live, since strangers choose the tuples.
    pub seeds: [u64; 4],
}

/// What a worker hands on, in order of time.
#[derive(Clone, Debug)]
pub struct Output {
    /// When it happened; a worker's outputs never go back in time.
    pub at_ns: u64,
    /// What happened.
    pub kind: Kind,
}

/// The kinds of output.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A rule's finding.
    Finding(Finding),
}

/// One worker's detector.
#[derive(Debug)]
pub struct Watch {
    config: Config,
}

impl Watch {
    /// Allocates everything it will ever need.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// Takes records in order of time and appends what follows from them.
    pub fn observe(&mut self, records: &[Record], out: &mut Vec<Output>) {
        let _ = (records, out, &self.config);
    }

    /// Lets time pass: what is due by `now_ns` is appended, with its own deadline as its time.
    pub fn tick(&mut self, now_ns: u64, out: &mut Vec<Output>) {
        let _ = (now_ns, out);
    }

    /// End of input at `end_ns`: what is pending is settled.
    pub fn finish(&mut self, end_ns: u64, out: &mut Vec<Output>) {
        let _ = (end_ns, out);
    }

    /// Everything counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters::default()
    }
}

/// What a worker counts. Adding two gives the counts of both workers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records observed.
    pub records: u64,
}

impl Counters {
    /// Name and value of every counter, in the order printed.
    pub fn each(&self, mut f: impl FnMut(&'static str, u64)) {
        f("records", self.records);
    }

    /// Adds another worker's counts.
    pub fn add(&mut self, other: &Self) {
        self.records += other.records;
    }
}

/// Which of `workers` owns the tuple of this record; the same for both directions.
#[must_use]
pub fn owner(record: &Record, seed: u64, workers: usize) -> usize {
    let _ = (record, seed);
    workers.saturating_sub(1).min(0)
}
