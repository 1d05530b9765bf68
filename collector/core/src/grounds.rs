//! What a finding rests on: the tuple that is still held, or a few of the connections that made a
//! rule fire, each with the segment that tells. Enough to find their packets; no packet is kept here.

use alloc::vec::Vec;

use arrayvec::ArrayVec;
use xdpwatch_prog::record::Record;

use crate::detect::Seen;
use crate::flow::Flow;
use crate::tuple::Tuple;

/// Examples kept of what made a rule fire.
pub const EXAMPLES_MAX: usize = 8;

/// Of these, as many are the first ones; the others are the latest.
const FIRST: usize = EXAMPLES_MAX / 2;

/// What the packets kept beside a finding are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Headers as they were seen; alone they give the same finding again.
    Seen,
    /// The earlier connection's packets were gone: they are rebuilt from the flow table.
    Rebuilt,
    /// Headers as they were seen of a part of what made the rule fire: they show it, and alone give
    /// no finding.
    Part,
}

/// Where a finding's packets are to be looked for.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a finding allocates nothing")]
pub enum Grounds {
    /// A SYN on a tuple that is still held.
    Held(Held),
    /// Connections that made a rule fire.
    Examples(Examples),
}

/// What a finding about a tuple that is still held rests on: enough to find its packets, or to make
/// them anew.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Held {
    /// The tuple, with the network that it lives in.
    pub tuple: Tuple,
    /// The first SYN.
    pub syn: Record,
    /// The earlier connection as it was tracked up to that; `None` if it predates the feed.
    pub previous: Option<Flow>,
}

/// What an example's decisive segment shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// A SYN that came again without an answer.
    Unanswered,
    /// A FIN that came again without its acknowledgment.
    FinAgain,
    /// The acknowledgment of a FIN, after which the other end stays open.
    HalfClosed,
    /// A RST to a SYN, by a listener that lives.
    SynRefused,
    /// A RST to a handshake just completed.
    HandshakeReset,
    /// A listener takes a connection.
    Accepted,
    /// A SYN so many ticks behind the TSval that the server took last from its source (ahead of it if
    /// negative), and whether it was answered.
    Judged {
        /// Ticks behind.
        behind: i32,
        /// Whether it was answered.
        answered: bool,
    },
    /// A SYN so many ticks behind the SYN before it from its source.
    BehindOthers(i32),
    /// A SYN so many ticks behind the last TSval on its own tuple.
    BehindItself(i32),
    /// The SYN before one that is behind it.
    Before,
    /// A connection that takes a port of its source.
    PortTaken,
    /// A SYN on a tuple that was closed so many milliseconds before.
    CameBack(u32),
    /// A connection goes on, and one of its directions was not seen.
    OneSided,
    /// A segment that came twice at once.
    Copy,
    /// An acknowledgment of data that was not seen.
    AckedUnseen,
}

/// A connection that made a rule fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example {
    /// Its tuple.
    pub tuple: Tuple,
    /// When its decisive segment was seen, microseconds.
    pub at_us: u64,
    /// What that shows.
    pub sign: Sign,
}

impl Example {
    /// The segment of this step.
    #[inline]
    #[must_use]
    pub fn of(seen: &Seen<'_>, sign: Sign) -> Self {
        Self { tuple: *seen.tuple, at_us: seen.at_us, sign }
    }
}

/// A few of many: the first, and the latest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Examples {
    kept: ArrayVec<Example, EXAMPLES_MAX>,
    /// As many there were.
    pub of: u32,
    /// Of one connection: how it was tracked when its decisive segment had come, to make its packets
    /// anew where they are gone.
    pub flow: Option<Flow>,
}

impl Examples {
    /// The one example of a finding about one connection.
    #[must_use]
    pub fn one(example: Example) -> Self {
        let mut examples = Self::default();
        examples.add(example);
        examples
    }

    /// The same, with how their one connection was tracked.
    #[must_use]
    pub fn tracked(self, flow: Option<Flow>) -> Self {
        Self { flow, ..self }
    }

    /// Takes the next, in order of time.
    #[inline]
    pub fn add(&mut self, example: Example) {
        if self.kept.try_push(example).is_err() {
            self.kept[FIRST + self.of as usize % (EXAMPLES_MAX - FIRST)] = example;
        }
        self.of = self.of.saturating_add(1);
    }

    /// Those kept.
    #[must_use]
    pub fn kept(&self) -> &[Example] {
        &self.kept
    }

    /// Their tuples, each once.
    #[must_use]
    pub fn tuples(&self) -> Vec<Tuple> {
        let mut tuples = Vec::with_capacity(self.kept.len());
        for example in &self.kept {
            if !tuples.contains(&example.tuple) {
                tuples.push(example.tuple);
            }
        }
        tuples
    }

    /// As the grounds of a finding, in order of time; `None` of none.
    #[must_use]
    pub fn grounds(&self) -> Option<Grounds> {
        let mut examples = self.clone();
        examples.kept.sort_by_key(|example| example.at_us);
        (!examples.kept.is_empty()).then_some(Grounds::Examples(examples))
    }

    /// Changes every tuple.
    pub(crate) fn rename(&mut self, rename: impl Fn(Tuple) -> Tuple) {
        self.kept.iter_mut().for_each(|example| example.tuple = rename(example.tuple));
    }
}

impl Grounds {
    /// The network that the tuples live in.
    #[must_use]
    pub fn realm(&self) -> Option<u32> {
        match self {
            Self::Held(held) => Some(held.tuple.realm),
            Self::Examples(examples) => examples.kept.first().map(|example| example.tuple.realm),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::NO_END;

    #[test]
    fn the_first_stay_and_the_latest_follow() {
        let tuple = Tuple { a: NO_END, b: NO_END, realm: 0 };
        let mut examples = Examples::default();
        assert_eq!(examples.grounds(), None);
        for at_us in 0..100 {
            examples.add(Example { tuple, at_us, sign: Sign::Copy });
        }
        let Some(Grounds::Examples(examples)) = examples.grounds() else { panic!("examples") };
        let times: Vec<u64> = examples.kept().iter().map(|example| example.at_us).collect();
        assert_eq!((times, examples.of), (vec![0, 1, 2, 3, 96, 97, 98, 99], 100));
    }
}
