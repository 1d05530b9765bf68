//! Which services live, and where the sequence numbers of their latest connections began: what several
//! rules must know and one step does not show.

use alloc::vec;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use ahash::RandomState;
use hashbrown::HashMap;
use xdpwatch_prog::record::flags;

use crate::finding::Endpoint;
use crate::flow::State;
use crate::step::{Step, What};
use crate::tuple::Tuple;

/// Services remembered, in each of two generations.
const SERVICES: usize = 1 << 13;

/// Beginnings remembered; a later one on the same place takes it.
const BEGINNINGS: usize = 1 << 16;

/// A server's address and port within one virtual network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Service {
    /// Where it listens.
    pub end: Endpoint,
    /// The network it lives in, as in [`Tuple`].
    pub realm: u32,
}

impl Hash for Service {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from_ne_bytes(self.end.addr));
        state.write_u64(u64::from(self.end.port) << 32 | u64::from(self.realm));
    }
}

impl Service {
    /// The service of the connection that made this step.
    #[must_use]
    pub fn of(step: &Step, tuple: &Tuple) -> Self {
        Self { end: tuple.end(step.client.peer()), realm: tuple.realm }
    }
}

/// A connection that a service took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Whose.
    pub client: Endpoint,
    /// When, microseconds.
    pub at_us: u64,
}

/// The SYN/ACK that a connection began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// The server's first sequence number after it.
    pub next: u32,
    /// When, microseconds.
    pub at_us: u64,
}

/// Services and beginnings, from steps in order of time. All memory is bounded.
#[derive(Debug)]
pub struct Services {
    /// The connection that each service took last.
    alive: HashMap<Service, Taken, RandomState>,
    older: HashMap<Service, Taken, RandomState>,
    beginnings: Vec<(u64, Beginning)>,
    state: RandomState,
}

impl Services {
    /// Reserves everything it will ever need.
    #[must_use]
    pub fn new(state: RandomState) -> Self {
        let map = || HashMap::with_capacity_and_hasher(SERVICES, state.clone());
        let none = (0, Beginning { next: 0, at_us: 0 });
        Self { alive: map(), older: map(), beginnings: vec![none; BEGINNINGS], state }
    }

    /// Takes the next step.
    pub fn see(&mut self, step: &Step, tuple: &Tuple, at_us: u64) {
        if !accepts(step) {
            return;
        }
        let service = Service::of(step, tuple);
        if self.alive.len() >= SERVICES && !self.alive.contains_key(&service) {
            core::mem::swap(&mut self.alive, &mut self.older);
            self.alive.clear();
        }
        self.alive.insert(service, Taken { client: tuple.end(step.client), at_us });
        if step.has(flags::SYN) {
            let hash = tuple.key().hash_with(&self.state);
            let beginning = Beginning { next: step.seq.wrapping_add(1), at_us };
            self.beginnings[hash as usize % BEGINNINGS] = (hash, beginning);
        }
    }

    /// When this service last took a connection, microseconds, as far as remembered.
    #[must_use]
    pub fn alive_us(&self, service: &Service) -> Option<u64> {
        self.last(service).map(|taken| taken.at_us)
    }

    /// The connection that this service took last, as far as remembered.
    #[must_use]
    pub fn last(&self, service: &Service) -> Option<Taken> {
        self.alive.get(service).or_else(|| self.older.get(service)).copied()
    }

    /// The SYN/ACK of the connection on this tuple that began no earlier than `first_us`, if it is
    /// still remembered.
    #[must_use]
    pub fn beginning(&self, tuple: &Tuple, first_us: u64) -> Option<Beginning> {
        let hash = tuple.key().hash_with(&self.state);
        let (known, beginning) = self.beginnings[hash as usize % BEGINNINGS];
        (known == hash && beginning.at_us >= first_us).then_some(beginning)
    }
}

/// Whether this step shows that the server takes connections: its answer to a SYN, or something else
/// of it where the SYN/ACK was not seen.
#[must_use]
pub fn accepts(step: &Step) -> bool {
    let first = match step.what {
        What::Opened { .. } | What::Moved => {
            step.before.is_none_or(|state| state == State::SynSent)
        }
        _ => false,
    };
    first && !step.is_from_client() && step.has(flags::ACK) && !step.has(flags::RST | flags::FIN)
}
