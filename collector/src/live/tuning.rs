//! What a reload changes, on its way to the threads of a vantage point: each looks, without waiting,
//! whether there is something newer than what it has.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::worker::Detection;

/// The latest choices of detection, and how often they changed.
#[derive(Debug, Default)]
pub struct Tuning {
    changes: AtomicU64,
    latest: Mutex<Option<Detection>>,
}

impl Tuning {
    /// These count from now on.
    pub fn change(&self, detection: &Detection) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(detection.clone());
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// What counts now, if that is newer than what was seen; `seen` begins with 0.
    pub fn newer(&self, seen: &mut u64) -> Option<Detection> {
        let changes = self.changes.load(Ordering::Acquire);
        if changes == *seen {
            return None;
        }
        *seen = changes;
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
