//! Evidence: beside each alert a small pcapng file with the packets that it rests on.
//!
//! [`history`] remembers headers, [`case`] chooses those of a finding and tries out whether they give
//! it again, [`comments`] says what they mean, [`store`] keeps the files. Here they are put together.

pub mod args;
pub mod case;
mod comments;
mod frame;
pub mod history;
mod rebuild;
pub mod redact;
pub mod store;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tracing::warn;
use xdpwatch_core::finding::{Evidence, Finding, State};
use xdpwatch_prog::wire::Link;

use crate::lang::Lang;
use crate::pcapng;
use crate::report::text;
use case::{Case, Choices, Exhibit};
use comments::Commentator;
use history::{History, Packet};
use redact::Redactor;
use store::{Limits, Store};

/// Packets of alerts that stand, remembered until those are resolved; about 250 bytes each.
const STANDING: usize = 1 << 16;

/// What is counted of evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files written, later versions included.
    pub written: u64,
    /// Versions whose earlier connection had to be rebuilt.
    pub rebuilt: u64,
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
    skipped: AtomicU64,
    counts: Mutex<Counts>,
}

impl Archive {
    /// Keeps files in `store`, of cases made with these choices.
    #[must_use]
    pub fn new(store: Store, choices: Choices) -> Self {
        let (files, bytes) = store.kept();
        let counts = Mutex::new(Counts { files, bytes, ..Counts::default() });
        let (store, choices) = (Mutex::new(store), Mutex::new(choices));
        Self { store, choices, rebuilt: 0.into(), skipped: 0.into(), counts }
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
            skipped: self.skipped.load(Ordering::Relaxed),
            ..counts
        }
    }
}

/// Makes the files of one vantage point's findings.
#[derive(Debug)]
pub struct Clerk {
    archive: Arc<Archive>,
    redactor: Option<Redactor>,
    /// The name of the interface or the capture file.
    origin: String,
    /// What was seen of alerts that stand, by id: the ring may have moved on by their end.
    standing: HashMap<u64, Vec<Packet>>,
    /// Packets in there.
    packets: usize,
}

impl Clerk {
    /// For the vantage point called `origin`.
    #[must_use]
    pub fn new(archive: Arc<Archive>, redactor: Option<Redactor>, origin: String) -> Self {
        Self { archive, redactor, origin, standing: HashMap::new(), packets: 0 }
    }

    /// Where its files go.
    #[must_use]
    pub fn archive(&self) -> &Arc<Archive> {
        &self.archive
    }

    /// Makes the file of a finding from packets of its tuples, and says in the finding what it is;
    /// `None` where a finding has no grounds.
    pub fn document(&mut self, finding: &mut Finding, mut seen: Vec<Packet>) -> Option<Document> {
        finding.grounds?;
        if finding.state == State::Firing && self.packets + seen.len() <= STANDING {
            self.packets += seen.len();
            self.standing.insert(finding.id, seen.clone());
        } else if let Some(mut first) = self.standing.remove(&finding.id) {
            self.packets -= first.len();
            seen.retain(|packet| !first.contains(packet));
            first.append(&mut seen);
            seen = first;
        }
        let case = case::make(finding, seen, &self.archive.choices())?;
        let (case, told) = match &self.redactor {
            None => (case, None),
            Some(redactor) => (renamed(case, redactor), Some(redactor.finding(finding))),
        };
        finding.evidence = Some(case.evidence);
        if case.evidence == Evidence::Rebuilt {
            self.archive.rebuilt.fetch_add(1, Ordering::Relaxed);
        }
        let told = told.as_ref().unwrap_or(finding);
        Some(Document { id: told.id, content: write(told, &case, &self.origin) })
    }

    /// As [`Clerk::document`], from a history at hand, and writes the file at once.
    pub fn attend(&mut self, finding: &mut Finding, history: &Mutex<History>) {
        let tuples = case::tuples(finding);
        let history = history.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = tuples.iter().flat_map(|tuple| history.find(tuple, finding.at_ns)).collect();
        drop(history);
        if let Some(document) = self.document(finding, seen) {
            self.archive.put(&document);
        }
    }
}

/// The same case between renamed ends. Frames are written anew from their records, so that nothing
/// else in them can tell.
fn renamed(case: Case, redactor: &Redactor) -> Case {
    let rename = |exhibit: Exhibit| {
        let record = redactor.record(&exhibit.record);
        Exhibit { packet: frame::packet(&record), record, ..exhibit }
    };
    Case { exhibits: case.exhibits.into_iter().map(rename).collect(), ..case }
}

/// The pcapng file of a case.
fn write(finding: &Finding, case: &Case, origin: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let title = format!(
        "xdpwatch {}: alert {:016x}, {}, cause {}. {}",
        env!("CARGO_PKG_VERSION"),
        finding.id,
        finding.rule.name,
        finding.cause,
        text::summary(finding, Lang::En)
    );
    let mut interfaces: Vec<(Link, bool)> = Vec::new();
    for exhibit in &case.exhibits {
        let interface = (exhibit.packet.link, exhibit.is_rebuilt);
        if !interfaces.contains(&interface) {
            interfaces.push(interface);
        }
    }
    let mut commentator = Commentator::new(finding);
    let mut write_all = || {
        pcapng::write_section(&mut out, &title)?;
        for (link, is_rebuilt) in &interfaces {
            let name = if *is_rebuilt { "rebuilt" } else { origin };
            pcapng::write_interface(&mut out, *link, name, history::BYTES)?;
        }
        for exhibit in &case.exhibits {
            let interface = (exhibit.packet.link, exhibit.is_rebuilt);
            let number = interfaces.iter().position(|known| *known == interface).unwrap_or(0);
            let packet = pcapng::Packet {
                interface: number as u32,
                at_ns: exhibit.packet.at_ns,
                frame_len: exhibit.packet.frame_len,
                bytes: &exhibit.packet.bytes,
                comment: &commentator.comment(exhibit),
            };
            pcapng::write_packet(&mut out, &packet)?;
        }
        std::io::Result::Ok(())
    };
    write_all().expect("writing to memory does not fail");
    out
}
