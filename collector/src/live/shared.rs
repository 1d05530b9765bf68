//! What a worker shares with the rest of its vantage point: what it is told, and what it shows.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Instant;

use xdpwatch_prog::maps::INTERFACES_MAX;

use super::bell::Bell;
use super::tuning::Tuning;
use super::writer::Headers;
use crate::capture::clock::Clock;
use crate::capture::source::Losses;
use crate::skips::Skips;
use crate::state_file::Saver;
use crate::stats::DetectorStats;

/// What a worker shows of itself while it runs.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// When it was shown last.
    pub at: Option<Instant>,
    /// Frames taken, by interface of the vantage point.
    pub received: [u64; INTERFACES_MAX],
    /// Frames without a readable head, likewise.
    pub bad_heads: [u64; INTERFACES_MAX],
    /// Records that found no place in a hand-off ring.
    pub handoff_lost: u64,
    /// Records that came too late to be in order.
    pub late: u64,
    /// Records left out because enough were taken.
    pub beyond_count: u64,
    /// Frames that were no record.
    pub skips: Skips,
    /// The detector's part.
    pub detector: DetectorStats,
    /// What the kernel lost.
    pub losses: Losses,
    /// The error that ended it, if one did.
    pub failure: Option<String>,
}

/// What a worker shares with the rest of its vantage point.
#[derive(Clone)]
pub struct Shared {
    /// Set when the program is detached: take what is left, then end.
    pub stop: Arc<AtomicBool>,
    /// Records still wanted (`--count`).
    pub left: Option<Arc<AtomicI64>>,
    /// Where headers are written, if they are.
    pub headers: Option<Arc<Headers>>,
    /// Program times to the detector's.
    pub clock: Clock,
    /// Every worker's, by number.
    pub bells: Arc<[Bell]>,
    /// Who takes the outputs.
    pub aggregator: Arc<OnceLock<Thread>>,
    /// What a reload changes.
    pub tuning: Arc<Tuning>,
    /// Where flows are left for the next run, once the end has come and if they are.
    pub saver: Arc<OnceLock<Saver>>,
}

impl Shared {
    /// Whether `--count` leaves room for one more record.
    pub fn wants_more(&self) -> bool {
        self.left.as_ref().is_none_or(|left| left.fetch_sub(1, Ordering::Relaxed) > 0)
    }
}
