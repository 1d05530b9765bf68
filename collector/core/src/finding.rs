//! What a rule says: a rule, a time, a tuple, labelled facts and a confidence.
//!
//! Findings carry no text for people and no JSON; both are made at the edge, in the `xdpwatch` crate.

use core::hash::{Hash, Hasher};

use arrayvec::ArrayVec;

use crate::flow::SECOND_US;
use crate::grounds::{Evidence, Grounds};
use crate::subject::{FLOW, ids};
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

impl Fact {
    /// A count.
    #[must_use]
    pub fn count(number: impl TryInto<i64>) -> Self {
        Self::Number(number.try_into().unwrap_or(i64::MAX))
    }

    /// Microseconds as whole milliseconds; the label ends in `_ms`.
    #[must_use]
    pub fn ms(us: u64) -> Self {
        Self::count(us / 1000)
    }

    /// Microseconds since the Unix epoch as a point in time.
    #[must_use]
    pub fn at(us: u64) -> Self {
        Self::Time(us.saturating_mul(1000))
    }
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

impl Confidence {
    /// Nothing takes certainty away.
    pub const SURE: Self = Self { percent: 100, reasons: ArrayVec::new_const() };

    /// Takes `by` percent away, for a reason.
    pub fn lower(&mut self, by: u8, reason: &'static str) {
        self.percent = self.percent.saturating_sub(by);
        let _ = self.reasons.try_push(reason);
    }

    /// Takes away what a loss of `ppm` millionths of the needed frames takes: what is missing may be
    /// the very packet that says otherwise.
    pub fn lower_by_loss(&mut self, ppm: u32) {
        let by = match ppm {
            0 => return,
            1..1_000 => 5,
            1_000..10_000 => 10,
            10_000..100_000 => 20,
            _ => 40,
        };
        self.lower(by, "capture_loss");
    }
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// IPv4 is mapped into IPv6.
    pub addr: [u8; 16],
    /// TCP port.
    pub port: u16,
}

impl Hash for Endpoint {
    /// In two words: hashing byte by byte would cost more than the look-up.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from_ne_bytes(self.addr));
        state.write_u16(self.port);
    }
}

impl Endpoint {
    /// Address, then port, as numbers: in the order of ends, and faster to compare.
    #[inline]
    #[must_use]
    pub fn number(&self) -> (u128, u16) {
        (u128::from_be_bytes(self.addr), self.port)
    }
}

/// What a finding is about, and so which of its ends mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// One connection: `src` sent or sends its SYN to `dst`.
    Connection,
    /// A service: `dst`.
    Service,
    /// All connections from a source address to a service: the address of `src`, and `dst`.
    Pair,
    /// A source address: that of `src`.
    Source,
    /// The feed itself; no end.
    Feed,
}

/// An end that means nothing: see [`About`].
pub const NO_END: Endpoint = Endpoint { addr: [0; 16], port: 0 };

/// The longest window over which a rule looks at many connections, microseconds.
const WINDOW_US: u64 = 60 * SECOND_US;

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
    /// What it is about.
    pub about: About,
    /// The side that sent the SYN.
    pub src: Endpoint,
    /// The side that the SYN was sent to.
    pub dst: Endpoint,
    /// Virtual network of the segment, 0 if none.
    pub vni: u32,
    /// VLAN ids of the SYN, outermost first.
    pub vlans: ArrayVec<u16, 2>,
    /// Identifies the incarnation that the SYN opens or would open; 0 where it is about no connection.
    pub flow_id: u64,
    /// The cause, printed as `alert.category`.
    pub cause: &'static str,
    /// 1 worst to 3.
    pub severity: u8,
    /// How sure.
    pub confidence: Confidence,
    /// Details under the key of the rule's name.
    pub facts: Facts,
    /// Where its packets are to be looked for; `None` where it rests on counters.
    pub grounds: Option<Grounds>,
    /// What is kept of its packets, if anything; set at the edge.
    pub evidence: Option<Evidence>,
}

impl Finding {
    /// The fact with this label.
    #[must_use]
    pub fn fact(&self, label: &str) -> Option<Fact> {
        self.facts.iter().find(|(name, _)| *name == label).map(|(_, fact)| *fact)
    }

    /// How far back what it rests on reaches, microseconds: to the last packet of the earlier
    /// connection, after which something else may have happened to it; for other findings a minute, the
    /// longest of the rules' windows, or to their beginning.
    #[must_use]
    pub fn rests_on_since_us(&self) -> u64 {
        let began_us = self.began_ns / 1000;
        let previous = match &self.grounds {
            Some(Grounds::Held(held)) => held.previous.as_ref(),
            _ => None,
        };
        previous.map_or(began_us.min((self.at_ns / 1000).saturating_sub(WINDOW_US)), |flow| {
            flow.last_us.min(began_us)
        })
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

    /// Gives every address in it another name. The ids follow, as if the packets had carried those:
    /// they are hashes of addresses that could be guessed.
    pub fn rename(&mut self, name: impl Fn([u8; 16]) -> [u8; 16]) {
        for end in [&mut self.src, &mut self.dst] {
            if *end != NO_END {
                end.addr = name(end.addr);
            }
        }
        let realm = self.grounds.as_ref().and_then(Grounds::realm).unwrap_or(self.vni);
        let tuple = match self.about {
            About::Connection => Tuple::between(self.src, self.dst, realm).0,
            About::Feed => Tuple { a: self.src, b: self.dst, realm: 0 },
            _ => Tuple { a: self.src, b: self.dst, realm },
        };
        (self.id, self.flow_id) = ids(self.rule, self.about, &tuple, self.began_ns / 1000);
        for (_, fact) in &mut self.facts {
            if let Fact::Address(addr) = fact {
                *addr = name(*addr);
            }
        }
        let mut previous = None;
        match &mut self.grounds {
            None => {}
            Some(Grounds::Examples(examples)) => examples.rename(|Tuple { a, b, realm }| {
                let [a, b] = [a, b].map(|end| Endpoint { addr: name(end.addr), ..end });
                Tuple::between(a, b, realm).0
            }),
            Some(Grounds::Held(held)) => {
                held.tuple = tuple;
                held.syn.src_addr = name(held.syn.src_addr);
                held.syn.dst_addr = name(held.syn.dst_addr);
                previous = held.previous;
            }
        }
        if let Some(flow) = previous {
            self.set("holder.previous_flow_id", Fact::Id(tuple.id(flow.first_us, FLOW)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_is_lost_the_less_sure() {
        let sure = |ppm| {
            let mut confidence = Confidence { percent: 100, reasons: ArrayVec::new() };
            confidence.lower_by_loss(ppm);
            (confidence.percent, confidence.reasons.len())
        };
        assert_eq!(sure(0), (100, 0));
        assert_eq!([1, 1_000, 10_000, 100_000].map(sure), [(95, 1), (90, 1), (80, 1), (60, 1)]);
        assert_eq!(sure(1_000_000), (60, 1));
    }
}
