//! Segments that a balancer passes on with numbers unchanged: one port and one TSval or sequence
//! number, milliseconds apart on two tuples, are one segment. A SYN's sequence number is random and
//! tells enough without the port.

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

/// What a twin repeats: client's port (0: not that), direction, and a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Token {
    port: u16,
    from_client: bool,
    number: Number,
}

/// A number of a segment that balancers of this kind leave as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    /// The TSval.
    Timestamp(u32),
    /// The sequence number.
    Sequence(u32),
}

impl Token {
    /// All of it in one word.
    fn word(&self) -> u64 {
        let (kind, number) = match self.number {
            Number::Timestamp(number) => (0, number),
            Number::Sequence(number) => (1, number),
        };
        u64::from(self.port) << 48
            | u64::from(self.from_client) << 33
            | kind << 32
            | u64::from(number)
    }
}

/// A segment, and the two numbers it can be known by.
#[derive(Clone, Copy, Debug)]
struct Recent {
    tokens: [Option<Token>; 2],
    sighting: Sighting,
    at_us: u64,
    /// The leg on which it came before, if it is a twin: there it can only come again.
    twin_of: Option<Leg>,
}

/// The segments of the last milliseconds, and the latest of them in slots by their tokens.
#[derive(Debug)]
pub struct Tokens {
    /// In a ring, as they came.
    recent: Vec<Option<Recent>>,
    /// Segments taken in so far.
    count: u64,
    /// Part of the latest token's hash in each slot, and its segment's number: small enough to stay
    /// near, since hardly any segment finds its twin.
    slots: Vec<(u32, u32)>,
    state: RandomState,
}

impl Tokens {
    /// Reserves everything it will ever need.
    pub fn new(state: RandomState) -> Self {
        Self { recent: vec![None; RECENT], count: 0, slots: vec![(0, 0); RECENT], state }
    }

    /// Takes a segment; returns its twin on another leg, if that came just before.
    pub fn see(&mut self, step: &Step, sighting: Sighting, at_us: u64) -> Option<(Sighting, By)> {
        // A balancer may rewrite one of the two numbers and leave the other.
        let (port, from_client) = (sighting.leg.client.port, sighting.from_client);
        let by_timestamp = step.ts_val.map(Number::Timestamp);
        let by_timestamp = by_timestamp.map(|number| Token { port, from_client, number });
        let port_told = if step.is_pure_syn() { 0 } else { port };
        let number = Number::Sequence(step.seq);
        let by_sequence = Some(Token { port: port_told, from_client, number });
        let tokens = [by_timestamp, by_sequence];
        let mut recent = Recent { tokens, sighting, at_us, twin_of: None };
        self.count += 1;
        let [timestamp, sequence] = recent.tokens.map(|token| self.exchange(token?, &recent));
        recent.twin_of = timestamp.or(sequence).map(|twin| twin.leg);
        self.recent[self.count as usize % RECENT] = Some(recent);
        let by_timestamp = timestamp.map(|twin| (twin, By::PortAndTsval));
        let by_sequence = sequence.and_then(|twin| {
            if twin.leg.client.port == port {
                Some((twin, By::PortAndSequence))
            } else {
                translates_both_ends(&twin.leg, &sighting.leg).then_some((twin, By::Sequence))
            }
        });
        by_timestamp.or(by_sequence)
    }

    /// Puts a segment in its slot; returns its twin if that was there.
    fn exchange(&mut self, token: Token, recent: &Recent) -> Option<Sighting> {
        let hash = self.state.hash_one(token.word());
        let own = ((hash >> 32) as u32, self.count as u32);
        let (tag, number) = core::mem::replace(&mut self.slots[hash as usize % RECENT], own);
        // As many segments came since; 32 bits of the numbers tell it.
        let ago = own.1.wrapping_sub(number);
        if tag != own.0 || ago as usize >= RECENT {
            return None;
        }
        let before = self.recent[(self.count - u64::from(ago)) as usize % RECENT]?;
        let is_twin = before.tokens.contains(&Some(token))
            && before.sighting.leg != recent.sighting.leg
            && before.twin_of != Some(recent.sighting.leg)
            && recent.at_us.saturating_sub(before.at_us) <= FORWARDED_US;
        is_twin.then_some(before.sighting)
    }
}

/// Scanners and floods send one number from or to many: only a SYN with new addresses at both ends is
/// a balancer's, if its port is new too.
fn translates_both_ends(front: &Leg, back: &Leg) -> bool {
    front.client.addr != back.client.addr && front.server.addr != back.server.addr
}
