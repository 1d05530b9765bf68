//! Evidence: beside each alert a small pcapng file with the packets that it rests on.
//!
//! [`history`] remembers headers, [`case`] chooses those of a finding, `proof` tries out whether they
//! give it again, `comments` says what they mean, `clerk` puts them together into a file, [`store`]
//! keeps the files.

pub mod args;
pub mod case;
mod clerk;
mod comments;
pub(crate) mod frame;
pub mod history;
mod proof;
mod rebuild;
pub mod redact;
pub mod store;
mod transitions;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use tracing::warn;
use xdpwatch_core::grounds::Evidence;

use case::Choices;
pub use clerk::Clerk;
use store::{Limits, Store};

/// What is counted of evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files written, later versions included.
    pub written: u64,
    /// Versions whose earlier connection had to be rebuilt.
    pub rebuilt: u64,
    /// Versions that show a part of what their finding rests on.
    pub part: u64,
    /// Files removed to stay within the limits.
    pub removed: u64,
    /// Findings that got none because too many came at once.
    pub skipped: u64,
    /// Files that could not be written.
    pub failed: u64,
    /// Files kept now.
    pub files: u64,
    /// Bytes of all files now.
    pub bytes: u64,
}

impl Counts {
    /// Name and value of each, in the order printed.
    pub fn each(&self, mut f: impl FnMut(&'static str, u64)) {
        f("written", self.written);
        f("rebuilt", self.rebuilt);
        f("part", self.part);
        f("removed", self.removed);
        f("skipped", self.skipped);
        f("failed", self.failed);
        f("files", self.files);
        f("bytes", self.bytes);
    }
}

/// A file to be written.
#[derive(Debug)]
pub struct Document {
    id: u64,
    content: Vec<u8>,
}

/// The one place that files go to, from however many vantage points.
#[derive(Debug)]
pub struct Archive {
    store: Mutex<Store>,
    choices: Mutex<Choices>,
    rebuilt: AtomicU64,
    part: AtomicU64,
    skipped: AtomicU64,
    counts: Mutex<Counts>,
}

impl Archive {
    /// Keeps files in `store`, of cases made with these choices.
    #[must_use]
    pub fn new(store: Store, choices: Choices) -> Self {
        let (files, bytes) = store.kept();
        let counts = Mutex::new(Counts { files, bytes, ..Counts::default() });
        Self {
            store: Mutex::new(store),
            choices: Mutex::new(choices),
            rebuilt: 0.into(),
            part: 0.into(),
            skipped: 0.into(),
            counts,
        }
    }

    /// Other bounds and choices count from now on; what a tuple is stays as it was.
    pub fn retune(&self, limits: Limits, choices: Choices) {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).limits = limits;
        let mut own = self.choices.lock().unwrap_or_else(PoisonError::into_inner);
        *own = Choices { vlan_key: own.vlan_key, ..choices };
        drop(own);
        self.tidy();
    }

    fn choices(&self) -> Choices {
        self.choices.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes a file. What fails is counted, and said once.
    pub fn put(&self, document: &Document) {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let result = store.put(document.id, &document.content, SystemTime::now());
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(removed) => {
                counts.written += 1;
                counts.removed += removed;
            }
            Err(error) => {
                if counts.failed == 0 {
                    warn!(
                        "evidence can't be written: {error}; make room, it is tried again with each alert"
                    );
                }
                counts.failed += 1;
            }
        }
        (counts.files, counts.bytes) = store.kept();
    }

    /// Removes files that are too old.
    pub fn tidy(&self) {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let removed = store.tidy(SystemTime::now());
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.removed += removed;
        (counts.files, counts.bytes) = store.kept();
    }

    /// Counts what a version is.
    fn note(&self, evidence: Evidence) {
        match evidence {
            Evidence::Seen => {}
            Evidence::Rebuilt => _ = self.rebuilt.fetch_add(1, Ordering::Relaxed),
            Evidence::Part => _ = self.part.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Counts a finding that gets no file.
    pub fn skip(&self) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let counts = *self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        Counts {
            rebuilt: self.rebuilt.load(Ordering::Relaxed),
            part: self.part.load(Ordering::Relaxed),
            skipped: self.skipped.load(Ordering::Relaxed),
            ..counts
        }
    }
}
