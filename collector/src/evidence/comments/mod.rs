//! What each packet of a case means, in words for whoever opens the file.

mod examples;
mod reuse;

use xdpwatch_core::finding::Finding;
use xdpwatch_core::grounds::{Evidence, Grounds};
use xdpwatch_prog::record::{Record, flags};

use super::case::Exhibit;
use crate::report::values::address;
use examples::Exemplified;
use reuse::Collision;

/// Comments one case, packet by packet in order of time.
pub enum Commentator<'a> {
    /// A SYN on a tuple that is still held.
    Collision(Collision<'a>),
    /// Connections that made a rule fire.
    Examples(Exemplified<'a>),
}

impl<'a> Commentator<'a> {
    /// For the case of this finding.
    #[must_use]
    pub fn new(finding: &'a Finding) -> Self {
        match &finding.grounds {
            Some(Grounds::Examples(examples)) => {
                Self::Examples(Exemplified::new(finding, examples))
            }
            _ => Self::Collision(Collision::new(finding)),
        }
    }

    /// The next packet's comment; empty where it says nothing that Wireshark does not.
    pub fn comment(&mut self, exhibit: &Exhibit) -> String {
        let record = &exhibit.record;
        let text = match (exhibit.own, self) {
            (None, _) => other_leg(record),
            (Some(_), Self::Collision(collision)) => collision.comment(record),
            (Some(own), Self::Examples(examples)) => examples.comment(own, record),
        };
        let note = "rebuilt from the flow table, not as seen";
        match (exhibit.is_rebuilt, text.is_empty()) {
            (false, _) => text,
            (true, true) => note.to_owned(),
            (true, false) => format!("{text} ({note})"),
        }
    }
}

/// What the file as a whole shows.
#[must_use]
pub fn scope(finding: &Finding, evidence: Evidence) -> String {
    match (evidence, &finding.grounds) {
        (Evidence::Seen, _) => "Replayed alone, these packets give it again.".to_owned(),
        (Evidence::Rebuilt, _) => {
            "The connection's earlier packets had left the history: they are \
                                   rebuilt from the flow table."
                .to_owned()
        }
        (Evidence::Part, Some(Grounds::Examples(examples))) if examples.of > 1 => format!(
            "A sample: packets of {} of the {} cases that it rests on. They show what happened; \
             replayed alone they need not give the finding.",
            examples.kept().len(),
            examples.of
        ),
        (Evidence::Part, _) => "A part: other packets had left the history. Replayed alone, these \
                                need not give the finding."
            .to_owned(),
    }
}

fn other_leg(record: &Record) -> String {
    if record.is_pure_syn() {
        format!("other leg of the balancer: SYN of client {}", address(&record.src_addr))
    } else if record.has_flags(flags::FIN) {
        format!("other leg of the balancer: FIN by {}", address(&record.src_addr))
    } else {
        "other leg of the balancer".to_owned()
    }
}

/// A time between two packets.
fn seconds(from_ns: u64, to_ns: u64) -> String {
    let ms = to_ns.saturating_sub(from_ns) / 1_000_000;
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}
