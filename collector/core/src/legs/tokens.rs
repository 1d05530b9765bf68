//! Segments that a balancer passes on with numbers unchanged: one port and one TSval or sequence
//! number, milliseconds apart on two tuples, are one segment.

use alloc::vec;
use alloc::vec::Vec;

use ahash::RandomState;

use super::joined::By;
use super::{FORWARDED_US, Leg};
use crate::step::Step;
use crate::tuple::Tuple;

/// Segments remembered while their twin may still come.
const RECENT: usize = 1 << 14;

/// One end's SYN, SYN/ACK or FIN, and the connection it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The connection.
    pub leg: Leg,
    /// Whether the client sent it.
    pub from_client: bool,
    /// When the connection began, microseconds.
    pub began_us: u64,
}

impl Sighting {
    /// The segment of this step.
    pub fn of(step: &Step, tuple: &Tuple, from_client: bool, began_us: u64) -> Self {
        let client = if from_client { step.sender } else { step.sender.peer() };
        let leg = Leg { client: tuple.end(client), server: tuple.end(client.peer()) };
        Self { leg, from_client, began_us }
    }
}

/// What a twin repeats: client's port, direction, and a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Token {
    port: u16,
    from_client: bool,
    number: Number,
}

/// A number of a segment that balancers of this kind leave as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Number {
    /// The TSval.
    Timestamp(u32),
    /// The sequence number.
    Sequence(u32),
}

#[derive(Clone, Copy, Debug)]
struct Recent {
    token: Token,
    sighting: Sighting,
    at_us: u64,
}

/// The segments of the last milliseconds, in slots by their token.
#[derive(Debug)]
pub struct Tokens {
    /// The latest segment in each slot, and a part of its token's hash: small enough to stay near,
    /// since hardly any segment finds its twin.
    recent: Vec<Option<Recent>>,
    tags: Vec<u32>,
    state: RandomState,
}

impl Tokens {
    /// Reserves everything it will ever need.
    pub fn new(state: RandomState) -> Self {
        Self { recent: vec![None; RECENT], tags: vec![0; RECENT], state }
    }

    /// Takes a segment; returns its twin on another leg, if that came just before.
    pub fn see(&mut self, step: &Step, sighting: Sighting, at_us: u64) -> Option<(Sighting, By)> {
        // A balancer may rewrite one of the two numbers and leave the other.
        let by_timestamp = step
            .ts_val
            .and_then(|ts_val| self.exchange(Number::Timestamp(ts_val), sighting, at_us));
        let by_sequence = self.exchange(Number::Sequence(step.seq), sighting, at_us);
        let by_timestamp = by_timestamp.map(|twin| (twin, By::PortAndTsval));
        by_timestamp.or(by_sequence.map(|twin| (twin, By::PortAndSequence)))
    }

    /// Puts a segment in its slot; returns its twin if that was there.
    fn exchange(&mut self, number: Number, sighting: Sighting, at_us: u64) -> Option<Sighting> {
        let token =
            Token { port: sighting.leg.client.port, from_client: sighting.from_client, number };
        let hash = self.state.hash_one(token);
        let (slot, tag) = (hash as usize % RECENT, (hash >> 32) as u32);
        let may_be_there = core::mem::replace(&mut self.tags[slot], tag) == tag;
        let before = self.recent[slot].filter(|_| may_be_there);
        self.recent[slot] = Some(Recent { token, sighting, at_us });
        let before = before?;
        let is_twin = before.token == token
            && before.sighting.leg != sighting.leg
            && at_us.saturating_sub(before.at_us) <= FORWARDED_US;
        is_twin.then_some(before.sighting)
    }
}
