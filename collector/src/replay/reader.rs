//! Packets of a file become records in order of time; their headers are remembered for evidence.

use std::sync::{Arc, Mutex, PoisonError};

use xdpwatch_prog::record::Record;
use xdpwatch_prog::wire::{self, Parsed};

use crate::capture::file::{CaptureFile, FileError, Packet};
use crate::evidence::history::History;
use crate::progress::Bar;
use crate::skips::Skips;
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

#[derive(Debug, Default)]
struct Clock {
    latest_ns: u64,
    backwards: u64,
    skips: Skips,
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
                return Ok(false);
            }
            let clock = &mut self.clock;
            let mut take = |packet: Packet<'_>| {
                records.extend(clock.record(&packet, history.as_deref_mut()));
            };
            match self.file.next(&mut take) {
                Ok(read) => {
                    more = read;
                    if !more {
                        self.clock.latest_ns = self.clock.latest_ns.max(self.file.counts().end_ns);
                    }
                    self.left -= u64::from(read);
                }
                Err(error) => {
                    result = Err(error);
                    more = false;
                }
            }
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

impl Clock {
    /// The packet's record, if it is one, at a time that is never before an earlier packet's.
    fn record(&mut self, packet: &Packet<'_>, history: Option<&mut History>) -> Option<Record> {
        self.backwards += u64::from(packet.at_ns < self.latest_ns);
        self.latest_ns = self.latest_ns.max(packet.at_ns);
        let parsed = wire::parse(packet.bytes, packet.frame_len, self.latest_ns, packet.link);
        let Parsed { record, header_end } = parsed.map_err(|skip| self.skips.count(skip)).ok()?;
        if let Some(history) = history {
            let headers = &packet.bytes[..header_end.min(packet.bytes.len())];
            history.put(&record, packet.link, headers);
        }
        Some(record)
    }
}
