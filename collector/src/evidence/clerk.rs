//! Makes the evidence files of one vantage point's findings: the packets chosen, renamed if that is
//! wanted, commented and written as pcapng. What an alert began with is remembered until its end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use xdpwatch_core::finding::{Finding, State};
use xdpwatch_core::grounds::Grounds;
use xdpwatch_core::tuple::Tuple;
use xdpwatch_prog::wire::Link;

use super::case::{self, Case, Exhibit};
use super::comments::{Commentator, scope};
use super::history::{self, History, Packet};
use super::redact::Redactor;
use super::{Archive, Document, frame};
use crate::lang::Lang;
use crate::pcapng;
use crate::report::text;

/// Packets of alerts that stand, remembered until those are resolved; about 250 bytes each.
const STANDING: usize = 1 << 16;

/// Of these, as many for alerts that may stand for days: the others are short.
const LONG_STANDING: usize = STANDING / 2;

/// Cases of rules that span connections tried out in a second of record time: each takes a detector of
/// its own, some milliseconds.
const TRIALS_PER_S: u32 = 32;

/// What is remembered of an alert that stands.
#[derive(Debug)]
struct Stood {
    /// What its finding rested on.
    grounds: Grounds,
    /// What was seen of it: the ring may have moved on by its end.
    packets: Vec<Packet>,
}

/// Makes the files of one vantage point's findings.
#[derive(Debug)]
pub struct Clerk {
    archive: Arc<Archive>,
    redactor: Option<Redactor>,
    /// The name of the interface or the capture file.
    origin: String,
    /// Alerts that stand, by id.
    standing: HashMap<u64, Stood>,
    /// Packets in there.
    packets: usize,
    /// A second, and the trials made in it.
    trials: (u64, u32),
}

impl Clerk {
    /// For the vantage point called `origin`.
    #[must_use]
    pub fn new(archive: Arc<Archive>, redactor: Option<Redactor>, origin: String) -> Self {
        let standing = HashMap::new();
        Self { archive, redactor, origin, standing, packets: 0, trials: (0, 0) }
    }

    /// Where its files go.
    #[must_use]
    pub fn archive(&self) -> &Arc<Archive> {
        &self.archive
    }

    /// The tuples whose packets are asked for; none if the finding gets no file. One that does not say
    /// at its end what it rests on rests on what it began with.
    pub fn tuples(&self, finding: &mut Finding) -> Vec<Tuple> {
        if finding.grounds.is_none() {
            finding.grounds = self.standing.get(&finding.id).map(|stood| stood.grounds.clone());
        }
        case::tuples(finding)
    }

    /// Makes the file of a finding from packets of its tuples, and says in the finding what it is;
    /// `None` where there is nothing to show.
    pub fn document(&mut self, finding: &mut Finding, seen: Vec<Packet>) -> Option<Document> {
        let grounds = finding.grounds.clone()?;
        let spans = matches!(grounds, Grounds::Examples(_));
        let may_try = spans && self.may_try(finding.at_ns / 1_000_000_000);
        let seen = self.remember(finding, grounds, seen);
        let case = case::make(finding, seen, &self.archive.choices(), may_try)?;
        let (case, told) = match &self.redactor {
            None => (case, None),
            Some(redactor) => (renamed(case, redactor), Some(redactor.finding(finding))),
        };
        finding.evidence = Some(case.evidence);
        self.archive.note(case.evidence);
        let told = told.as_ref().unwrap_or(finding);
        Some(Document { id: told.id, content: write(told, &case, &self.origin) })
    }

    /// As [`Clerk::document`], from a history at hand, and writes the file at once.
    pub fn attend(&mut self, finding: &mut Finding, history: &Mutex<History>) {
        let tuples = self.tuples(finding);
        if tuples.is_empty() {
            return;
        }
        let history = history.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = tuples.iter().flat_map(|tuple| history.find(tuple, finding.at_ns)).collect();
        drop(history);
        if let Some(document) = self.document(finding, seen) {
            self.archive.put(&document);
        }
    }

    /// Whether another case may be tried out in this second.
    fn may_try(&mut self, second: u64) -> bool {
        if self.trials.0 != second {
            self.trials = (second, 0);
        }
        self.trials.1 += 1;
        self.trials.1 <= TRIALS_PER_S
    }

    /// What was seen of the alert so far; kept for its end while it stands and there is room.
    fn remember(
        &mut self,
        finding: &Finding,
        grounds: Grounds,
        mut seen: Vec<Packet>,
    ) -> Vec<Packet> {
        if let Some(Stood { packets: mut first, .. }) = self.standing.remove(&finding.id) {
            self.packets -= first.len();
            seen.retain(|packet| !first.contains(packet));
            first.append(&mut seen);
            seen = first;
        }
        let room = match grounds {
            Grounds::Held(_) => STANDING,
            Grounds::Examples(_) => LONG_STANDING,
        };
        if finding.state == State::Firing && self.packets + seen.len() <= room {
            self.packets += seen.len();
            self.standing.insert(finding.id, Stood { grounds, packets: seen.clone() });
        }
        seen
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
        "xdpwatch {}: alert {:016x}, {}, cause {}. {}. {}",
        env!("CARGO_PKG_VERSION"),
        finding.id,
        finding.rule.name,
        finding.cause,
        text::summary(finding, Lang::En),
        scope(finding, case.evidence)
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
        // What the finding says of silence holds until then.
        pcapng::write_end(&mut out, 0, finding.at_ns)
    };
    write_all().expect("writing to memory does not fail");
    out
}
