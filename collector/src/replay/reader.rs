//! Packets of a file become records in order of time; their headers are remembered for evidence.

use std::sync::{Arc, Mutex, PoisonError};

use xdpwatch_prog::record::Record;

use super::clock::Clock;
use crate::capture::file::{CaptureFile, FileError, Packet};
use crate::evidence::history::History;
use crate::progress::Bar;
use crate::stats::{FileStats, Stats};

/// A file of this size has tuples enough for huge pages to pay.
const LONG_BYTES: u64 = 32 << 20;

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

    /// Appends up to `max` records; false when there are no more to come.
    ///
    /// # Errors
    /// Those of the file; records appended before are good.
    pub fn fill(&mut self, records: &mut Vec<Record>, max: usize) -> Result<bool, FileError> {
        let end = records.len() + max;
        let mut more = true;
        let history = self.history.as_ref();
        let mut history =
            history.map(|history| history.lock().unwrap_or_else(PoisonError::into_inner));
        let mut result = Ok(());
        while more && records.len() < end {
            if self.left == 0 {
                more = false;
                break;
            }
            let clock = &mut self.clock;
            let mut take =
                |packet: Packet<'_>| clock.take(&packet, history.as_deref_mut(), records);
            match self.file.next(&mut take) {
                Ok(read) => {
                    more = read;
                    self.left -= u64::from(read);
                }
                Err(error) => {
                    result = Err(error);
                    more = false;
                }
            }
        }
        if !more {
            self.clock.settle(None, history.as_deref_mut(), records);
        }
        self.bar.set(self.file.progress().taken());
        result.map(|()| more)
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
