//! One worker: a detector and the outputs it has made so far. The same for files and live capture.

use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;

use xdpwatch_core::detect::Limits;
use xdpwatch_core::flows::Flows;
use xdpwatch_core::group;
use xdpwatch_core::host::Hosts;
use xdpwatch_core::saved::Saved;
use xdpwatch_core::watch::{Config, Output, Watch};
use xdpwatch_prog::record::Record;

use crate::huge_pages;
use crate::stats::DetectorStats;
use crate::usage::Usage;

/// Choices of detection that all workers share.
#[derive(Clone, Debug)]
pub struct Detection {
    /// Tuples held at most, over all workers.
    pub max_tuples: u64,
    /// How long closed tuples are remembered while there is room, nanoseconds.
    pub horizon_ns: u64,
    /// Whether the VLAN ids are part of the tuple.
    pub vlan_key: bool,
    /// Whether accepted reuse is reported.
    pub all_reuse: bool,
    /// Whether the feed carries all segments with data.
    pub carries_data: bool,
    /// Whose TCP hosts have, as far as configured.
    pub hosts: Hosts,
    /// Thresholds of the rules.
    pub limits: Limits,
    /// When people are told of groups of findings.
    pub group: group::Config,
    /// Seeds of hash tables.
    pub seeds: [u64; 4],
    /// Records handled at once.
    pub batch: usize,
}

impl Detection {
    /// The same for each of so many vantage points: they share the tuples.
    #[must_use]
    pub fn share_of(&self, vantages: usize) -> Self {
        Self { max_tuples: self.max_tuples / vantages.max(1) as u64, ..self.clone() }
    }

    /// Tuples held at most by each of so many workers.
    fn tuples_of_each(&self, workers: usize) -> usize {
        let max_tuples = usize::try_from(self.max_tuples).unwrap_or(usize::MAX);
        (max_tuples / workers.max(1)).max(1)
    }
}

/// Seeds for files: the same file gives the same findings, even when tables overflow.
pub const FILE_SEEDS: [u64; 4] =
    [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89];

/// Seeds for live capture, where strangers choose the tuples: from the system's random numbers.
#[must_use]
pub fn random_seeds() -> [u64; 4] {
    [0u64, 1, 2, 3].map(|n| RandomState::new().hash_one(n))
}

/// One worker's detector.
#[derive(Debug)]
pub struct Worker {
    watch: Watch,
    batch: usize,
    /// Outputs not yet handed on.
    pub outputs: Vec<Output>,
}

impl Worker {
    /// All workers there are to be.
    ///
    /// # Errors
    /// There is no memory for so many tuples.
    pub fn crew(detection: &Detection, workers: usize) -> anyhow::Result<Vec<Self>> {
        let pieces = Flows::pieces(detection.tuples_of_each(workers));
        // Reserved for a moment: where there is no room for the tables themselves, the process ends.
        let mut tried = Vec::new();
        for bytes in (0..workers).flat_map(|_| pieces) {
            let mut piece = Vec::<u8>::new();
            if piece.try_reserve_exact(bytes).is_err() {
                let needed = workers as f64 * pieces.iter().sum::<usize>() as f64 / 1e9;
                anyhow::bail!(Usage(format!(
                    "--max-tuples {} needs {needed:.1} GB of memory, and the system does not give that \
                     much: give fewer",
                    detection.max_tuples
                )));
            }
            // Or the compiler leaves out what nobody uses.
            tried.push(black_box(piece));
        }
        drop(tried);
        Ok((0..workers).map(|_| Self::new(detection, workers)).collect())
    }

    /// One of `workers`; it reserves its share of the tuples.
    #[must_use]
    pub fn new(detection: &Detection, workers: usize) -> Self {
        let watch = Watch::new(Config {
            max_tuples: detection.tuples_of_each(workers),
            horizon_ns: detection.horizon_ns,
            vlan_key: detection.vlan_key,
            all_reuse: detection.all_reuse,
            carries_data: detection.carries_data,
            hosts: detection.hosts.clone(),
            seeds: detection.seeds,
        });
        Self { watch, batch: detection.batch, outputs: Vec::new() }
    }

    /// Asks for huge pages behind the tables: worth it where many tuples are to be expected, since
    /// each page is two megabytes. To be called before the first record.
    pub fn use_huge_pages(&self) {
        huge_pages::advise(&self.watch);
    }

    /// Has the tables' memory laid out before the first record, which is not to wait for it.
    pub fn populate(&self) {
        huge_pages::populate(&self.watch);
    }

    /// Takes in a flow of an earlier run, before the first record; `false` if it found no place.
    pub fn restore(&mut self, saved: &Saved, now_ns: u64) -> bool {
        self.watch.restore(saved, now_ns)
    }

    /// Takes what a reload may change of a detector that runs.
    pub fn retune(&mut self, detection: &Detection) {
        self.watch.retune(&detection.hosts, detection.all_reuse);
    }

    /// The detector.
    #[must_use]
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Takes records in order of time.
    pub fn observe(&mut self, records: &[Record]) {
        for batch in records.chunks(self.batch) {
            self.watch.observe(batch, &mut self.outputs);
        }
    }

    /// Lets time pass.
    pub fn tick(&mut self, now_ns: u64) {
        self.watch.tick(now_ns, &mut self.outputs);
    }

    /// End of input.
    pub fn finish(&mut self, end_ns: u64) {
        self.watch.finish(end_ns, &mut self.outputs);
    }

    /// What the detector says of itself.
    #[must_use]
    pub fn stats(&self) -> DetectorStats {
        DetectorStats {
            counters: self.watch.counters(),
            occupancy: self.watch.occupancy(),
            remembered_ns: self.watch.remembered_ns(),
        }
    }
}
