//! Packets of a file become records in order of time; their headers are remembered for evidence.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use xdpwatch_prog::record::Record;

use super::clock::Clock;
use crate::capture::file::{CaptureFile, FileError, Packet};
use crate::evidence::history::History;
use crate::progress::Bar;
use crate::stats::{FileStats, Stats};

/// A file of this size has packets enough for huge pages to pay: what is touched of the tables first is two
/// megabytes of zeros each time, 0.1 s in all.
const LONG_BYTES: u64 = 1 << 30;

/// A file whose packets are parsed and whose clock only goes forward.
pub struct Reader {
    file: CaptureFile,
    bar: Bar,
    clock: Clock,
    left: u64,
    history: Option<Arc<Mutex<History>>>,
}

impl Reader {
    /// Reads at most `count` packets of `file`; headers go into `history`.
    pub fn new(
        file: CaptureFile,
        count: Option<u64>,
        history: Option<Arc<Mutex<History>>>,
    ) -> Self {
        let bar = Bar::new(file.progress().size);
        let left = count.unwrap_or(u64::MAX);
        Self { file, bar, clock: Clock::default(), left, history }
    }

    /// Whether many tuples are to be expected; of an unknown size, they are.
    pub fn is_long(&self) -> bool {
        self.file.progress().size.is_none_or(|size| size >= LONG_BYTES)
    }

    /// Appends the records of the next packets, at most `max`: of as many as lie ready, so that a slow
    /// source keeps nobody waiting for the rest. False when there are no more to come.
    ///
    /// # Errors
    /// Those of the file; records appended before are good.
    pub fn fill(&mut self, records: &mut Vec<Record>, max: usize) -> Result<bool, FileError> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(max);
        let clock = &mut self.clock;
        let history = self.history.as_deref();
        // Locked from the first packet on: whoever wants it must not wait for a slow source.
        let mut locked = None;
        let mut take = |packet: Packet<'_>| {
            if locked.is_none() {
                locked = history.map(lock);
            }
            clock.take(&packet, locked.as_deref_mut(), records);
        };
        let read = if wanted == 0 { Ok(0) } else { self.file.some(wanted, &mut take) };
        if !matches!(read, Ok(1..)) {
            if locked.is_none() {
                locked = history.map(lock);
            }
            clock.settle(None, locked.as_deref_mut(), records);
        }
        if wanted > 0 && matches!(read, Ok(0)) {
            clock.latest_ns = clock.latest_ns.max(self.file.counts().end_ns);
        }
        self.bar.set(self.file.progress().taken());
        let read = read?;
        self.left -= read as u64;
        Ok(read > 0)
    }

    /// Time of the latest packet, nanoseconds; also of packets that are no records.
    pub fn latest_ns(&self) -> u64 {
        self.clock.latest_ns
    }

    /// What was read so far.
    pub fn stats(&self) -> Stats {
        let counts = self.file.counts();
        let file = FileStats {
            packets: counts.packets,
            bytes: self.file.progress().taken(),
            cut_packets: counts.cut_packets,
            unknown_link: counts.unknown_link,
            timeless: counts.timeless,
            clock_backwards: self.clock.backwards,
            damaged_times: self.clock.damaged,
        };
        Stats {
            at_ns: self.clock.latest_ns,
            file: Some(file),
            skipped: self.clock.skips.counts(),
            ..Stats::default()
        }
    }

    /// The trouble that a file read to its end may still have had.
    pub fn remaining_problem(&self) -> Option<FileError> {
        self.file.counts().first_unknown_link.map(FileError::UnknownLink)
    }
}

fn lock(history: &Mutex<History>) -> MutexGuard<'_, History> {
    history.lock().unwrap_or_else(PoisonError::into_inner)
}
