//! Wakes a worker that sleeps, so that workers may sleep for long. Ringing costs a system call only
//! if the worker does sleep.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;

use super::sleeper::Sleeper;

/// One worker's bell.
#[derive(Debug)]
pub struct Bell {
    event: OwnedFd,
    sleeper: Sleeper,
}

impl Bell {
    /// A bell that nobody sleeps beside.
    ///
    /// # Errors
    /// Those of `eventfd`: too many open files.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { event, sleeper: Sleeper::new() })
    }

    /// Wakes the worker, if it sleeps. What was done before ringing is seen by it.
    pub fn ring(&self) {
        if self.sleeper.must_wake() {
            // A full counter is rung already.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }

    /// Says that the worker is about to sleep; it must look for work once more before it does.
    pub fn lie_down(&self) {
        self.sleeper.lie_down();
    }

    /// Says that it is awake, and silences the bell.
    pub fn get_up(&self) {
        if self.sleeper.get_up() {
            // It was rung; nothing to read is no fault.
            let _ = rustix::io::read(&self.event, &mut [0; 8]);
        }
    }

    /// Whether the worker sleeps, so that nothing received long before now is still to come.
    pub fn is_asleep(&self) -> bool {
        self.sleeper.is_asleep()
    }
}

impl AsRawFd for Bell {
    fn as_raw_fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::sys;
    use std::time::{Duration, Instant};

    #[test]
    fn a_sleeper_is_woken_and_nobody_else_is_bothered() {
        let bell = Bell::new().unwrap();
        bell.ring();
        let began = Instant::now();
        sys::wait_readable([bell.as_raw_fd()], 20).unwrap();
        assert!(began.elapsed() >= Duration::from_millis(19), "it rang although nobody slept");
        bell.lie_down();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(10));
                bell.ring();
            });
            let began = Instant::now();
            sys::wait_readable([bell.as_raw_fd()], 5000).unwrap();
            assert!(began.elapsed() < Duration::from_secs(4));
        });
        bell.get_up();
        let began = Instant::now();
        sys::wait_readable([bell.as_raw_fd()], 20).unwrap();
        assert!(began.elapsed() >= Duration::from_millis(19), "it was silenced");
    }
}
