//! What a rule says: a rule, a time, a tuple, labelled facts and a confidence.
//!
//! Findings carry no text for people and no JSON; both are made at the edge, in the `xdpwatch` crate.

use arrayvec::ArrayVec;
use xdpwatch_prog::record::Record;

use crate::detect::tuple_reuse::{ALERT, FLOW};
use crate::flow::Flow;
use crate::tuple::Tuple;

/// A rule's name and number, as printed in `alert.signature` and `alert.signature_id`.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Stable name; also the metric label and the name of its page.
    pub name: &'static str,
    /// Stable number, never reused.
    pub id: u32,
    /// What it means, in one line.
    pub summary: &'static str,
}

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Something is wrong now.
    Firing,
    /// The final outcome is known; at most once for an id.
    Resolved,
}

/// One labelled value. Nested objects are spelled with dots in the label: `holder.ip`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fact {
    /// Known to be absent or not knowable: JSON `null`.
    Unknown,
    /// Yes or no.
    Flag(bool),
    /// A number; the label ends in its unit.
    Number(i64),
    /// A word of the contract's vocabulary.
    Word(&'static str),
    /// An address, IPv4 mapped into IPv6.
    Address([u8; 16]),
    /// A 64-bit identifier, not to be calculated with.
    Id(u64),
    /// A point in time, nanoseconds since the Unix epoch.
    Time(u64),
}

/// The most facts that one finding carries.
pub const FACTS_MAX: usize = 48;

/// Labelled values, in the order in which they are printed.
pub type Facts = ArrayVec<(&'static str, Fact), FACTS_MAX>;

/// The most reasons that one confidence carries.
pub const REASONS_MAX: usize = 6;

/// How sure a finding is, and what took certainty away.
#[derive(Clone, Debug, PartialEq)]
pub struct Confidence {
    /// 0 to 100.
    pub percent: u8,
    /// Words for what lowered it, worst first.
    pub reasons: ArrayVec<&'static str, REASONS_MAX>,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// IPv4 is mapped into IPv6.
    pub addr: [u8; 16],
    /// TCP port.
    pub port: u16,
}

/// What the packets kept beside a finding are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Headers as they were seen; alone they give the same finding again.
    Seen,
    /// The earlier connection's packets were gone: they are rebuilt from the flow table.
    Rebuilt,
}

/// What a rule found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Which rule.
    pub rule: &'static Rule,
    /// Firing or resolved.
    pub state: State,
    /// The same for firing and resolved; differs between collisions.
    pub id: u64,
    /// Time of the packet, or the deadline, that caused it.
    pub at_ns: u64,
    /// Time of the first packet of what the finding is about.
    pub began_ns: u64,
    /// The tuple, with the network that it lives in.
    pub tuple: Tuple,
    /// The side that sent the SYN.
    pub src: Endpoint,
    /// The side that the SYN was sent to.
    pub dst: Endpoint,
    /// Virtual network of the segment, 0 if none.
    pub vni: u32,
    /// VLAN ids of the SYN, outermost first.
    pub vlans: ArrayVec<u16, 2>,
    /// Identifies the incarnation that the SYN would open.
    pub flow_id: u64,
    /// The cause, printed as `alert.category`.
    pub cause: &'static str,
    /// 1 worst to 3.
    pub severity: u8,
    /// How sure.
    pub confidence: Confidence,
    /// Details under the key of the rule's name.
    pub facts: Facts,
    /// The first SYN of what it is about.
    pub syn: Record,
    /// The earlier connection as it was tracked up to `began_ns`; `None` if it predates the feed.
    pub previous: Option<Flow>,
    /// What is kept of its packets, if anything; set at the edge.
    pub evidence: Option<Evidence>,
}

impl Finding {
    /// The fact with this label.
    #[must_use]
    pub fn fact(&self, label: &str) -> Option<Fact> {
        self.facts.iter().find(|(name, _)| *name == label).map(|(_, fact)| *fact)
    }

    /// Sets the fact with this label; a finding that is full keeps what it has.
    pub fn set(&mut self, label: &'static str, fact: Fact) {
        match self.facts.iter_mut().find(|(name, _)| *name == label) {
            Some(slot) => slot.1 = fact,
            None => {
                let _ = self.facts.try_push((label, fact));
            }
        }
    }

    /// Gives every address in it another name. The ids follow, as if the packets had carried those.
    pub fn rename(&mut self, name: impl Fn([u8; 16]) -> [u8; 16]) {
        let end = |end: Endpoint| Endpoint { addr: name(end.addr), port: end.port };
        (self.src, self.dst) = (end(self.src), end(self.dst));
        self.syn.src_addr = name(self.syn.src_addr);
        self.syn.dst_addr = name(self.syn.dst_addr);
        self.tuple = Tuple::between(self.src, self.dst, self.tuple.realm).0;
        self.id = self.tuple.id(self.began_ns / 1000, ALERT);
        self.flow_id = self.tuple.id(self.began_ns / 1000, FLOW);
        for (label, fact) in &mut self.facts {
            match (fact, self.previous) {
                (Fact::Address(addr), _) => *addr = name(*addr),
                (Fact::Id(id), Some(flow)) if *label == "holder.previous_flow_id" => {
                    *id = self.tuple.id(flow.first_us, FLOW);
                }
                _ => {}
            }
        }
    }
}
