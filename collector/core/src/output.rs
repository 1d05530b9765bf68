//! What a worker hands on to the aggregator.

use alloc::boxed::Box;

use crate::detect::tuple_reuse::Report;
use crate::finding::Endpoint;
use crate::host::{Model, Refusal};
use crate::packed_step::PackedStep;
use crate::tuple::{Key, Tuple};

/// What a worker hands on, in order of time.
#[derive(Clone, Debug)]
pub struct Output {
    /// When it happened, nanoseconds; a worker's outputs never go back in time.
    pub at_ns: u64,
    /// The tuple it is about: with the time, the order in which workers' outputs are merged.
    pub key: Key,
    /// What happened.
    pub kind: Kind,
}

/// The kinds of output.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A step of one connection, for the rules that span connections.
    Step(PackedStep),
    /// A holder held a tuple for longer than its model says.
    HeldLonger {
        /// Who.
        host: Endpoint,
        /// How much longer at least, microseconds.
        longer_us: u64,
    },
    /// A host proves that its kernel is Linux: it recycled TIME-WAIT as only Linux does.
    ProvenLinux(Endpoint),
    /// A holder accepted a SYN out of TIME-WAIT, with an ISN so far ahead of its old SND.NXT.
    Recycled(Endpoint, i32),
    /// A holder answered otherwise than its model's verdict foretold.
    Contradicted(Endpoint, Model),
    /// What a refusal by the sequence number got of a holder in TIME-WAIT.
    Refusal(Endpoint, Refusal),
    /// What is to be reported of a collision.
    Report(Box<Report>),
}

impl Output {
    /// The tuple it is about.
    #[must_use]
    pub fn tuple(&self) -> Tuple {
        self.key.tuple()
    }
}
