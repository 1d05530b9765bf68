//! How a worker falls asleep without missing what is sent to it meanwhile: it says that it sleeps, then
//! looks once more; whoever sends, sends first, then looks whether it sleeps.

use crate::concurrent::{AtomicBool, Ordering, fence};

/// Whether one worker sleeps.
#[derive(Debug)]
pub struct Sleeper {
    is_asleep: AtomicBool,
}

impl Sleeper {
    /// Somebody who is awake.
    pub fn new() -> Self {
        Self { is_asleep: AtomicBool::new(false) }
    }

    /// Something was sent: whether the sleeper must be woken for it, which is to be done by whoever
    /// is told so first.
    pub fn must_wake(&self) -> bool {
        // Pairs with the fence in `lie_down`: either the sleeper sees what was sent, or this sees
        // that it sleeps.
        fence(Ordering::SeqCst);
        self.is_asleep() && self.is_asleep.swap(false, Ordering::AcqRel)
    }

    /// Says that it is about to sleep; it must look for work once more before it does.
    pub fn lie_down(&self) {
        self.is_asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Says that it is awake; whether somebody was told to wake it.
    pub fn get_up(&self) -> bool {
        !self.is_asleep.swap(false, Ordering::AcqRel)
    }

    /// Whether it sleeps, so that nothing received long before now is still to come.
    pub fn is_asleep(&self) -> bool {
        self.is_asleep.load(Ordering::Acquire)
    }
}
