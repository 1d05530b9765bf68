//! The flow tables of one worker, IPv4 and IPv6, behind one door: class shares, expiry, census.
//!
//! Classes have shares so that a flood of one kind cannot push the others out: handshakes may take a
//! quarter of the table, open connections three quarters; closed tuples take what is left and give
//! way only past their model's deadline.

use ahash::RandomState;

use crate::counters::Counters;
use crate::finding::Endpoint;
use crate::flow::{Flow, SECOND_US, State, marks};
use crate::host::linux::TIME_WAIT_US;
use crate::table::{Index, Insert, Table, VALUE};
use crate::tuple::Tuple;

/// A handshake that went nowhere is forgotten after this.
const EMBRYONIC_US: u64 = 180 * SECOND_US;

/// A reset connection is forgotten after this.
const RESET_US: u64 = 60 * SECOND_US;

/// A closed connection is forgotten after this, room or not.
const CLOSED_US: u64 = 3600 * SECOND_US;

/// An open connection without a packet is forgotten after this (conntrack's default too).
const OPEN_US: u64 = 5 * 24 * 3600 * SECOND_US;

/// An open connection without a packet for this long gives way to a newcomer when all is full.
const OPEN_IDLE_US: u64 = 3600 * SECOND_US;

/// Every group is swept once in this many ticks.
const SWEEP_TICKS: usize = 600;

/// Where a flow lies.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// In the IPv4 table.
    V4(Index),
    /// In the IPv6 table.
    V6(Index),
}

/// What a lookup found.
#[derive(Clone, Copy, Debug)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A flow past its time, freed by this lookup.
    Over(Flow),
    /// A flow.
    Held(Place, Flow),
}

/// What a flow is to the table's shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Embryonic,
    Open,
    Closed,
    Dead,
}

impl Class {
    fn of(state: State) -> Self {
        match state {
            State::SynSent | State::SynReceived => Self::Embryonic,
            State::Established | State::FinWait1 | State::FinWait2 => Self::Open,
            State::LastAck | State::Closing | State::TimeWait => Self::Closed,
            State::Reset => Self::Dead,
        }
    }
}

/// Tuples held now, by state, and how long closed ones are remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Slots in all.
    pub capacity: u64,
    /// A SYN and nothing else.
    pub syn_sent: u64,
    /// A SYN/ACK without its ACK.
    pub syn_received: u64,
    /// Established.
    pub established: u64,
    /// The first FIN is not acknowledged.
    pub fin_wait1: u64,
    /// One direction closed.
    pub fin_wait2: u64,
    /// The second FIN is not acknowledged.
    pub last_ack: u64,
    /// Crossing FINs.
    pub closing: u64,
    /// Closed, held by the closer.
    pub time_wait: u64,
    /// Reset.
    pub reset: u64,
}

impl Census {
    /// Tuples held.
    #[must_use]
    pub fn used(&self) -> u64 {
        let mut used = 0;
        self.each(|name, count| used += if name == "capacity" { 0 } else { count });
        used
    }

    /// Name and value of each, in the order printed.
    pub fn each(&self, mut f: impl FnMut(&'static str, u64)) {
        f("capacity", self.capacity);
        f("syn_sent", self.syn_sent);
        f("syn_received", self.syn_received);
        f("established", self.established);
        f("fin_wait1", self.fin_wait1);
        f("fin_wait2", self.fin_wait2);
        f("last_ack", self.last_ack);
        f("closing", self.closing);
        f("time_wait", self.time_wait);
        f("reset", self.reset);
    }

    /// Adds another worker's tuples.
    pub fn add(&mut self, other: &Self) {
        self.capacity += other.capacity;
        for state in State::ALL {
            *self.of(state) += *{ *other }.of(state);
        }
    }

    fn of(&mut self, state: State) -> &mut u64 {
        match state {
            State::SynSent => &mut self.syn_sent,
            State::SynReceived => &mut self.syn_received,
            State::Established => &mut self.established,
            State::FinWait1 => &mut self.fin_wait1,
            State::FinWait2 => &mut self.fin_wait2,
            State::LastAck => &mut self.last_ack,
            State::Closing => &mut self.closing,
            State::TimeWait => &mut self.time_wait,
            State::Reset => &mut self.reset,
        }
    }
}

/// Both tables and what is counted of them.
#[derive(Debug)]
pub struct Flows {
    v4: Table<2, 8>,
    v6: Table<5, 16>,
    state: RandomState,
    census: Census,
    horizon_us: u64,
    /// The youngest age at which a closed tuple had to be given up; the horizon if none was.
    remembered_us: u64,
}

impl Flows {
    /// Room for `max_tuples` IPv4 tuples and a quarter as many IPv6 ones.
    #[must_use]
    pub fn new(max_tuples: usize, horizon_us: u64, state: RandomState) -> Self {
        let (v4, v6) = (Table::new(max_tuples), Table::new(max_tuples / 4));
        let capacity = (v4.capacity() + v6.capacity()) as u64;
        let census = Census { capacity, ..Census::default() };
        Self { v4, v6, state, census, horizon_us, remembered_us: horizon_us }
    }

    /// The tuple's hash, to be taken once per record.
    #[inline]
    #[must_use]
    pub fn hash(&self, tuple: &Tuple) -> u64 {
        tuple.hash_with(&self.state)
    }

    /// Tuples held now, by state.
    #[must_use]
    pub fn census(&self) -> Census {
        self.census
    }

    /// How long closed tuples are in fact remembered, microseconds.
    #[must_use]
    pub fn remembered_us(&self) -> u64 {
        self.remembered_us
    }

    /// Reads ahead what looking up this hash will need. The sum is of no meaning.
    #[inline]
    #[must_use]
    pub fn touch_tags(&self, tuple: &Tuple, hash: u64) -> u64 {
        if is_v4(tuple) { self.v4.touch_tags(hash) } else { self.v6.touch_tags(hash) }
    }

    /// Reads ahead the slot that looking up this hash will end at. The sum is of no meaning.
    #[inline]
    #[must_use]
    pub fn touch_slot(&self, tuple: &Tuple, hash: u64) -> u64 {
        if is_v4(tuple) { self.v4.touch_slot(hash) } else { self.v6.touch_slot(hash) }
    }

    /// The flow of this tuple. One past its time is freed.
    #[inline]
    pub fn find(&mut self, tuple: &Tuple, hash: u64, now_us: u64) -> Found {
        let place = if is_v4(tuple) {
            self.v4.find(hash, &key_v4(tuple)).map(Place::V4)
        } else {
            self.v6.find(hash, &key_v6(tuple)).map(Place::V6)
        };
        let Some(place) = place else { return Found::Nothing };
        let words = match place {
            Place::V4(index) => self.v4.value(index),
            Place::V6(index) => self.v6.value(index),
        };
        let flow = Flow::unpack(&words, now_us);
        if is_over(&flow, now_us) {
            self.remove(place, flow.state);
            return Found::Over(flow);
        }
        Found::Held(place, flow)
    }

    /// Puts a flow back; `before` is the state it was found in.
    #[inline]
    pub fn store(&mut self, place: Place, before: State, flow: &Flow) {
        if before != flow.state {
            *self.census.of(before) -= 1;
            *self.census.of(flow.state) += 1;
        }
        match place {
            Place::V4(index) => self.v4.set(index, &flow.pack()),
            Place::V6(index) => self.v6.set(index, &flow.pack()),
        }
    }

    /// Takes in a flow whose tuple is not there, if there is room or something gives way: that is
    /// returned.
    pub fn insert(
        &mut self,
        tuple: &Tuple,
        hash: u64,
        flow: &Flow,
        now_us: u64,
        counters: &mut Counters,
    ) -> Option<(Tuple, Flow)> {
        let class = Class::of(flow.state);
        let share_full = self.is_share_full(class);
        let horizon = self.horizon_us;
        let give_up = |words: &[u64; VALUE]| {
            give_up(&Flow::unpack(words, now_us), class, share_full, horizon, now_us)
        };
        let value = flow.pack();
        let done = if is_v4(tuple) {
            let done = self.v4.insert(hash, &key_v4(tuple), &value, share_full, give_up);
            done.map(|key| tuple_v4(&key))
        } else {
            let done = self.v6.insert(hash, &key_v6(tuple), &value, share_full, give_up);
            done.map(|key| tuple_v6(&key))
        };
        if matches!(done, Insert::Full) {
            counters.table_refused += 1;
            return None;
        }
        *self.census.of(flow.state) += 1;
        let Insert::Replaced(tuple, old) = done else { return None };
        let old = Flow::unpack(&old, now_us);
        self.count_replaced(&old, now_us, counters);
        Some((tuple, old))
    }

    /// Frees what is past its time in a part of the tables; called once per tick.
    pub fn sweep(&mut self, now_us: u64, gone: &mut impl FnMut(&Tuple, &Flow)) {
        let census = &mut self.census;
        let mut over = |words: &[u64; VALUE]| {
            let flow = Flow::unpack(words, now_us);
            let over = is_over(&flow, now_us);
            *census.of(flow.state) -= u64::from(over);
            over.then_some(flow)
        };
        let groups = |capacity: usize| capacity / 16 / SWEEP_TICKS + 1;
        self.v4.sweep(groups(self.v4.capacity()), |key, words| {
            over(words).inspect(|flow| gone(&tuple_v4(key), flow)).is_some()
        });
        self.v6.sweep(groups(self.v6.capacity()), |key, words| {
            over(words).inspect(|flow| gone(&tuple_v6(key), flow)).is_some()
        });
    }

    fn remove(&mut self, place: Place, state: State) {
        *self.census.of(state) -= 1;
        match place {
            Place::V4(index) => self.v4.remove(index),
            Place::V6(index) => self.v6.remove(index),
        }
    }

    fn count_replaced(&mut self, old: &Flow, now_us: u64, counters: &mut Counters) {
        *self.census.of(old.state) -= 1;
        match Class::of(old.state) {
            Class::Embryonic => counters.evicted_embryonic += 1,
            Class::Closed => {
                let age = now_us.saturating_sub(old.armed_us());
                self.remembered_us = self.remembered_us.min(age);
                counters.evicted_closed += 1;
            }
            Class::Open | Class::Dead => counters.evicted_dead += 1,
        }
    }

    fn is_share_full(&self, class: Class) -> bool {
        let census = &self.census;
        match class {
            Class::Embryonic => census.syn_sent + census.syn_received >= census.capacity / 4,
            Class::Open => {
                let open = census.established + census.fin_wait1 + census.fin_wait2;
                open >= census.capacity / 8 * 7
            }
            Class::Closed | Class::Dead => false,
        }
    }
}

/// Whether a flow is past its time. A contested one is kept for its contest.
fn is_over(flow: &Flow, now_us: u64) -> bool {
    let silent = now_us.saturating_sub(flow.last_us);
    let limit = match Class::of(flow.state) {
        _ if flow.is(marks::CONTESTED) => return false,
        Class::Embryonic => EMBRYONIC_US,
        Class::Open => OPEN_US,
        Class::Closed => CLOSED_US,
        Class::Dead => RESET_US,
    };
    silent > limit
}

/// How readily a flow gives way to a newcomer of class `newcomer`: the higher, the sooner. Rank
/// first, then age.
fn give_up(
    flow: &Flow,
    newcomer: Class,
    share_full: bool,
    horizon_us: u64,
    now_us: u64,
) -> Option<u64> {
    if flow.is(marks::CONTESTED) {
        return None;
    }
    let class = Class::of(flow.state);
    let held = now_us.saturating_sub(flow.armed_us());
    let silent = now_us.saturating_sub(flow.last_us);
    let rank = match class {
        _ if share_full && class != newcomer => return None,
        Class::Dead => 6,
        _ if is_over(flow, now_us) => 5,
        Class::Closed if held > horizon_us => 4,
        Class::Closed if held > TIME_WAIT_US => 3,
        Class::Embryonic => 2,
        Class::Open if silent > OPEN_IDLE_US => 1,
        Class::Closed | Class::Open => return None,
    };
    Some(rank << 56 | silent.min((1 << 56) - 1))
}

#[inline]
fn is_v4(tuple: &Tuple) -> bool {
    tuple.a.addr[..12] == V4_MAPPED && tuple.b.addr[..12] == V4_MAPPED
}

const V4_MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

#[inline]
fn key_v4(tuple: &Tuple) -> [u64; 2] {
    let [.., a, b, c, d] = tuple.a.addr;
    let [.., e, f, g, h] = tuple.b.addr;
    [u64::from_be_bytes([a, b, c, d, e, f, g, h]), ports_and_realm(tuple)]
}

#[inline]
fn key_v6(tuple: &Tuple) -> [u64; 5] {
    let [a, b] = [tuple.a.addr, tuple.b.addr].map(u128::from_be_bytes);
    [(a >> 64) as u64, a as u64, (b >> 64) as u64, b as u64, ports_and_realm(tuple)]
}

fn tuple_v4(key: &[u64; 2]) -> Tuple {
    let mapped = |v4: u64| {
        let mut addr = [0; 16];
        addr[..12].copy_from_slice(&V4_MAPPED);
        addr[12..].copy_from_slice(&(v4 as u32).to_be_bytes());
        addr
    };
    tuple_of([mapped(key[0] >> 32), mapped(key[0])], key[1])
}

fn tuple_v6(key: &[u64; 5]) -> Tuple {
    let addr = |high: u64, low: u64| (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
    tuple_of([addr(key[0], key[1]), addr(key[2], key[3])], key[4])
}

fn tuple_of([a, b]: [[u8; 16]; 2], rest: u64) -> Tuple {
    Tuple {
        a: Endpoint { addr: a, port: (rest >> 48) as u16 },
        b: Endpoint { addr: b, port: (rest >> 32) as u16 },
        realm: rest as u32,
    }
}

#[inline]
fn ports_and_realm(tuple: &Tuple) -> u64 {
    u64::from(tuple.a.port) << 48 | u64::from(tuple.b.port) << 32 | u64::from(tuple.realm)
}
