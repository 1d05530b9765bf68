//! How far the spool's thread is: whoever may tell of an alert by another way only once it is on disk
//! waits for that here.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many messages were spooled, as far as the disk let them.
#[derive(Debug, Default)]
pub struct Progress {
    spooled: Mutex<u64>,
    news: Condvar,
}

impl Progress {
    /// So many more were.
    pub fn add(&self, messages: u64) {
        *self.lock() += messages;
        self.news.notify_all();
    }

    /// How many were so far.
    #[must_use]
    pub fn spooled(&self) -> u64 {
        *self.lock()
    }

    /// The number is right whoever panicked.
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.spooled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until so many were in all, at most this long; false if they were not by then.
    #[must_use]
    pub fn wait_for(&self, messages: u64, most: Duration) -> bool {
        let spooled = self.lock();
        let is_less = |spooled: &mut u64| *spooled < messages;
        let waited = self.news.wait_timeout_while(spooled, most, is_less);
        *waited.unwrap_or_else(PoisonError::into_inner).0 >= messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn what_is_spooled_is_waited_for_and_what_hangs_is_not_for_long() {
        let progress = Progress::default();
        assert!(progress.wait_for(0, Duration::ZERO));
        std::thread::scope(|scope| {
            scope.spawn(|| [3, 2].map(|messages| progress.add(messages)));
            assert!(progress.wait_for(5, Duration::from_secs(20)));
        });
        let began = Instant::now();
        assert!(!progress.wait_for(6, Duration::from_millis(20)));
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}
