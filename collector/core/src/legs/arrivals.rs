//! The requests of the last milliseconds, any of which may make a balancer open a connection: SYNs and
//! completed handshakes, in a ring, found again by the client's port.

use alloc::vec;
use alloc::vec::Vec;

use arrayvec::ArrayVec;

use super::timing::{CANDIDATES, Candidate, LAG_MOST_US};
use super::{FORWARDED_US, Given, Leg};
use crate::finding::Endpoint;

/// Requests remembered: enough for 800 000 a second.
const RING: usize = 1 << 13;

/// Requests of one port that are looked at, the latest. More within milliseconds are a flood from one port, and
/// no request of it can be told from the others.
const CHAIN: usize = 64;

/// Requests that are looked at for a full proxy's handshakes; where more came lately, too many are candidates.
const LATEST: u64 = 512;

/// One request.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    leg: Leg,
    at_us: u64,
    /// When its connection began.
    began_us: u64,
    /// The number of the one before with the same port; see [`Arrivals::by_port`].
    before: u64,
    /// Whether it is the end of a handshake.
    completed: bool,
    /// Whether a balancer's connection has been joined with it.
    taken: bool,
}

/// Which requests may be the cause of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// None.
    Nothing,
    /// This one alone.
    One {
        /// Its connection.
        leg: Leg,
        /// When that began.
        began_us: u64,
    },
    /// More than one.
    Several,
}

impl Found {
    /// Whether it is exactly one.
    pub fn is_one(&self) -> bool {
        matches!(self, Self::One { .. })
    }
}

/// The requests of the last milliseconds.
#[derive(Debug)]
pub struct Arrivals {
    ring: Vec<Arrival>,
    /// Requests taken in so far; a request's number is what this was before it, plus one.
    count: u64,
    /// By port, the number of its latest request; 0 if none.
    by_port: Vec<u64>,
}

const NOBODY: Endpoint = Endpoint { addr: [0; 16], port: 0 };

const NO_ARRIVAL: Arrival = Arrival {
    leg: Leg { client: NOBODY, server: NOBODY },
    at_us: 0,
    began_us: 0,
    before: 0,
    completed: false,
    taken: true,
};

impl Arrivals {
    /// Reserves everything it will ever need.
    pub fn new() -> Self {
        Self { ring: vec![NO_ARRIVAL; RING], count: 0, by_port: vec![0; 1 << 16] }
    }

    /// A request came: a SYN, or the end of a handshake.
    pub fn note(&mut self, leg: Leg, at_us: u64, began_us: u64, completed: bool) {
        let port = usize::from(leg.client.port);
        let taken = self.is_taken(&leg, at_us);
        self.count += 1;
        let before = core::mem::replace(&mut self.by_port[port], self.count);
        let slot = self.count as usize % RING;
        self.ring[slot] = Arrival { leg, at_us, began_us, before, completed, taken };
    }

    /// The request, not yet taken, that a connection with the same port may have been opened for.
    pub fn with_port(&self, of: &Leg, given: &Given, at_us: u64) -> Found {
        let mut found = Found::Nothing;
        for (place, arrival) in self.chain(of.client.port, at_us).enumerate() {
            if place + 1 == CHAIN {
                return Found::Several;
            }
            // Two clients that call one service by the same port are no balancer's two legs; nor, as
            // far as nobody says so, one client that calls two services by one port of its own.
            let own = arrival.leg.server == of.server
                || arrival.leg.client.addr == of.client.addr && !given.is_known_back(of);
            if arrival.taken || own || !given.may_join(&arrival.leg, of) {
                continue;
            }
            match found {
                Found::Nothing => {
                    found = Found::One { leg: arrival.leg, began_us: arrival.began_us };
                }
                Found::One { leg, .. } if leg == arrival.leg => {}
                _ => return Found::Several,
            }
        }
        found
    }

    /// The handshakes completed lately that a full proxy may have opened a connection for, those taken
    /// too; none where there are too many to tell.
    pub fn completed(
        &self,
        of: &Leg,
        given: &Given,
        at_us: u64,
    ) -> ArrayVec<Candidate, CANDIDATES> {
        let mut candidates = ArrayVec::new();
        let lately = self.within(LAG_MOST_US - 1, at_us);
        if lately > LATEST {
            return candidates;
        }
        for back in 0..lately {
            let arrival = &self.ring[(self.count - back) as usize % RING];
            // A host's own connections, one after another, are no balancer's two legs.
            let own = arrival.leg.client.addr == of.client.addr || arrival.leg.server == of.server;
            if !arrival.completed || own || !given.may_join(&arrival.leg, of) {
                continue;
            }
            let Arrival { leg, began_us, taken, .. } = *arrival;
            let lag_us = at_us.saturating_sub(arrival.at_us);
            if candidates.try_push(Candidate { leg, began_us, lag_us, taken }).is_err() {
                return ArrayVec::new();
            }
        }
        candidates
    }

    /// A connection was joined with this leg: it is no longer a candidate for others.
    pub fn take(&mut self, leg: &Leg, at_us: u64) {
        let mut number = self.by_port[usize::from(leg.client.port)];
        for _ in 0..CHAIN {
            let Some(index) = self.index(number, at_us) else { break };
            self.ring[index].taken |= self.ring[index].leg == *leg;
            number = self.ring[index].before;
        }
    }

    /// How many came within the last `us`.
    pub fn within(&self, us: u64, at_us: u64) -> u64 {
        // The ring is in order of time, so the boundary is found by halving.
        let (mut near, mut far) = (0, self.count.min(RING as u64));
        while near < far {
            let middle = near.midpoint(far);
            let arrival = &self.ring[(self.count - middle) as usize % RING];
            if arrival.at_us + us >= at_us { near = middle + 1 } else { far = middle }
        }
        near
    }

    fn is_taken(&self, leg: &Leg, at_us: u64) -> bool {
        self.chain(leg.client.port, at_us).any(|arrival| arrival.taken && arrival.leg == *leg)
    }

    /// The recent requests of this port, latest first, at most [`CHAIN`].
    fn chain(&self, port: u16, at_us: u64) -> impl Iterator<Item = &Arrival> {
        let mut number = self.by_port[usize::from(port)];
        core::iter::from_fn(move || {
            let arrival = &self.ring[self.index(number, at_us)?];
            number = arrival.before;
            Some(arrival)
        })
        .take(CHAIN)
    }

    /// Where the request of this number is, if it is still there and recent.
    fn index(&self, number: u64, at_us: u64) -> Option<usize> {
        let is_there = number > 0 && number + RING as u64 > self.count;
        let index = number as usize % RING;
        (is_there && self.ring[index].at_us + FORWARDED_US >= at_us).then_some(index)
    }
}
