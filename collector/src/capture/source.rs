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

/// A place that frames come from, each with the program's head in front.
pub trait Source: Send {
    /// Hands the frames that are there, [`FRAMES_MAX`] at most, to `take`; returns how many.
    ///
    /// # Errors
    /// Those of the kernel when the source is broken for good.
    fn receive(&mut self, take: impl FnMut(&[u8])) -> io::Result<usize>;

    /// Waits until there are frames, `bell` is readable, or `timeout_ms` is over.
    ///
    /// # Errors
    /// Those of `poll`.
    fn wait(&mut self, bell: RawFd, timeout_ms: i32) -> io::Result<()>;

    /// What was lost so far.
    ///
    /// # Errors
    /// Those of asking the kernel.
    fn losses(&self) -> io::Result<Losses>;
}
