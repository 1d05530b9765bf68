//! The census: how many connections of each service, and of each source address, stand in which
//! state, as seen from the wire.
//!
//! It counts from steps. Where steps were lost under overload its counts are off by those, but never
//! below zero; connections that the flow table had no place for are not in it. TIME_WAIT ends by its own timer, 60 s
//! after it was last set as far as steps tell.

use alloc::vec::Vec;
use core::cmp::Reverse;

use ahash::RandomState;
use hashbrown::HashMap;

use crate::finding::Endpoint;
use crate::flow::{Flow, SECOND_US, State};
use crate::services::Service;
use crate::step::{Step, What};
use crate::tuple::{Side, Tuple};
use crate::wheel::Wheel;

/// Services, and sources, that are counted.
const POOLS: usize = 1 << 12;

/// Services, and sources, that a snapshot lists: the largest.
const LISTED: usize = 20;

/// How often empty ones give their places up at most: looking through all costs.
const TIDY_US: u64 = 10 * SECOND_US;

/// Names of the states, in the order of a row. FIN_WAIT2 is named with its holder, whose peer is in
/// CLOSE_WAIT; TIME_WAIT with its holder. Where both hold TIME_WAIT, both are counted.
pub const STATES: [&str; 10] = [
    "syn_sent",
    "syn_received",
    "established",
    "fin_wait1",
    "fin_wait2_client",
    "fin_wait2_server",
    "last_ack",
    "closing",
    "time_wait_client",
    "time_wait_server",
];

/// The states that end by what is seen, not by a timer.
const SEEN: usize = STATES.len() - 2;

/// One service's or source's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The service; a source with port 0.
    pub end: Endpoint,
    /// The virtual network, as in [`Tuple`].
    pub realm: u32,
    /// How many in each of [`STATES`].
    pub states: [u64; STATES.len()],
}

impl Row {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.states.iter().sum()
    }
}

/// The largest services and sources at one moment, the largest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Services.
    pub services: Vec<Row>,
    /// Source addresses.
    pub sources: Vec<Row>,
}

#[derive(Clone, Debug, Default)]
struct Pool {
    states: [u32; SEEN],
    /// In TIME_WAIT, at the client and at the server.
    waits: [Wheel; 2],
}

/// The census of all services and sources. All memory is bounded.
#[derive(Debug)]
pub struct Census {
    services: Pools,
    sources: Pools,
}

#[derive(Debug)]
struct Pools {
    pools: HashMap<Service, Pool, RandomState>,
    overflow: u64,
    /// When empty pools were last given up, microseconds.
    tidied_us: u64,
}

impl Census {
    /// Reserves everything it will ever need.
    #[must_use]
    pub fn new(state: RandomState) -> Self {
        Self { services: Pools::new(state.clone()), sources: Pools::new(state) }
    }

    /// Takes the next step.
    pub fn see(&mut self, step: &Step, tuple: &Tuple, at_us: u64) {
        let source = Endpoint { port: 0, ..tuple.end(step.client) };
        let source = Service { end: source, realm: tuple.realm };
        self.services.see(Service::of(step, tuple), step, at_us);
        self.sources.see(source, step, at_us);
    }

    /// Steps that could not be counted because all places were taken.
    #[must_use]
    pub fn overflow(&self) -> u64 {
        self.services.overflow + self.sources.overflow
    }

    /// The largest at `now_us`.
    #[must_use]
    pub fn snapshot(&self, now_us: u64) -> Snapshot {
        Snapshot { services: self.services.rows(now_us), sources: self.sources.rows(now_us) }
    }
}

impl Pools {
    fn new(state: RandomState) -> Self {
        let pools = HashMap::with_capacity_and_hasher(2 * POOLS, state);
        Self { pools, overflow: 0, tidied_us: 0 }
    }

    fn see(&mut self, key: Service, step: &Step, at_us: u64) {
        if let Some(pool) = self.pools.get_mut(&key) {
            return pool.see(step, at_us);
        }
        if self.pools.len() >= POOLS {
            if at_us.saturating_sub(self.tidied_us) >= TIDY_US {
                self.tidied_us = at_us;
                self.pools.retain(|_, pool| !pool.is_empty(at_us));
            }
            if self.pools.len() >= POOLS {
                self.overflow += 1;
                return;
            }
        }
        self.pools.entry(key).or_default().see(step, at_us);
    }

    fn rows(&self, now_us: u64) -> Vec<Row> {
        let mut rows: Vec<Row> = self
            .pools
            .iter()
            .map(|(key, pool)| pool.row(*key, now_us))
            .filter(|row| row.total() > 0)
            .collect();
        rows.sort_unstable_by_key(|row| (Reverse(row.total()), row.end, row.realm));
        rows.truncate(LISTED);
        rows
    }
}

impl Pool {
    fn see(&mut self, step: &Step, at_us: u64) {
        let flow = &step.flow;
        match step.what {
            What::Opened { previous_us } => {
                // The new connection frees its tuple's ends from TIME_WAIT.
                let since_us = at_us.saturating_sub(previous_us.unwrap_or(0));
                for side in step.freed.iter().flatten() {
                    self.waits[holder(*side, step.client)].take(since_us);
                }
                self.enter(step, flow.state, at_us);
            }
            What::Moved => {
                match step.before {
                    Some(State::TimeWait) => {
                        self.leave_time_wait(step, at_us.saturating_sub(step.silent_us));
                    }
                    Some(before) => self.leave(step, before),
                    None => {}
                }
                self.enter(step, flow.state, at_us);
            }
            What::FinRepeated if flow.state == State::TimeWait => {
                self.leave_time_wait(step, at_us.saturating_sub(step.silent_us));
                self.enter(step, State::TimeWait, at_us);
            }
            What::Gone => self.leave(step, flow.state),
            _ => {}
        }
    }

    fn enter(&mut self, step: &Step, state: State, at_us: u64) {
        if let Some(index) = index(state, step) {
            self.states[index] = self.states[index].saturating_add(1);
        } else if state == State::TimeWait {
            for side in step.flow.time_waits().iter().flatten() {
                self.waits[holder(*side, step.client)].add(at_us);
            }
        }
    }

    fn leave(&mut self, step: &Step, state: State) {
        if let Some(index) = index(state, step) {
            self.states[index] = self.states[index].saturating_sub(1);
        }
    }

    fn leave_time_wait(&mut self, step: &Step, since_us: u64) {
        let held = Flow { state: State::TimeWait, ..step.flow };
        for side in held.time_waits().iter().flatten() {
            self.waits[holder(*side, step.client)].take(since_us);
        }
    }

    fn row(&self, key: Service, now_us: u64) -> Row {
        let mut states = [0; STATES.len()];
        for (to, from) in states.iter_mut().zip(self.states) {
            *to = u64::from(from);
        }
        for (to, from) in states[SEEN..].iter_mut().zip(&self.waits) {
            *to = from.count(now_us);
        }
        Row { end: key.end, realm: key.realm, states }
    }

    fn is_empty(&self, now_us: u64) -> bool {
        self.states == [0; SEEN] && self.waits.iter().all(|wheel| wheel.is_empty(now_us))
    }
}

fn holder(side: Side, client: Side) -> usize {
    usize::from(side != client)
}

/// Where a state is counted; `None` for those that a timer ends, or that nobody holds.
fn index(state: State, step: &Step) -> Option<usize> {
    match state {
        State::SynSent => Some(0),
        State::SynReceived => Some(1),
        State::Established => Some(2),
        State::FinWait1 => Some(3),
        State::FinWait2 => Some(4 + holder(step.flow.marks.closer(), step.client)),
        State::LastAck => Some(6),
        State::Closing => Some(7),
        State::TimeWait | State::Reset => None,
    }
}
