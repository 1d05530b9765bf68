//! What a live worker needs of the place its frames come from: AF_XDP queue or tap.

use std::io;
use std::os::fd::RawFd;

/// Frames taken at once at most.
pub const FRAMES_MAX: usize = 64;

/// What the kernel lost on the way to one source.
#[derive(Clone, Copy, Debug, Default)]
pub struct Losses {
    /// Frames lost because the receive ring was full.
    pub ring_full: u64,
    /// Frames that could not be delivered: no free buffer, or longer than one.
    pub dropped: u64,
    /// Times no free buffer was found: a cause of `dropped`.
    pub fill_ring_empty: u64,
}

impl Losses {
    /// Adds another source's.
    pub fn add(&mut self, other: &Self) {
        self.ring_full += other.ring_full;
        self.dropped += other.dropped;
        self.fill_ring_empty += other.fill_ring_empty;
    }
}

/// A place that frames come from, each with the program's head in front.
pub trait Source: Send {
    /// Hands the frames that are there, [`FRAMES_MAX`] at most, to `take`; returns how many.
    ///
    /// # Errors
    /// Those of the kernel when the source is broken for good.
    fn receive(&mut self, take: impl FnMut(&[u8])) -> io::Result<usize>;

    /// What is readable when there are frames.
    fn fd(&self) -> RawFd;

    /// What was lost so far.
    ///
    /// # Errors
    /// Those of asking the kernel.
    fn losses(&self) -> io::Result<Losses>;
}
