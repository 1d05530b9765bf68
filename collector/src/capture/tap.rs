//! Headers from the program's ring buffer (`--mode tap`): every frame went on to the host's stack,
//! and what was copied of it is read here.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use aya::maps::{MapData, RingBuf};

use super::source::{FRAMES_MAX, Losses, Source};

/// The ring buffer of heads and headers, one for all receive queues.
pub struct Tap {
    ring: RingBuf<MapData>,
}

impl Tap {
    /// Reads from `ring`.
    #[must_use]
    pub fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring }
    }
}

impl Source for Tap {
    fn receive(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<usize> {
        let mut received = 0;
        while received < FRAMES_MAX {
            let Some(entry) = self.ring.next() else { break };
            take(&entry);
            received += 1;
        }
        Ok(received)
    }

    fn fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    /// Nothing: what found no room is the program's `tap_ring_full`.
    fn losses(&self) -> io::Result<Losses> {
        Ok(Losses::default())
    }
}
