//! How long a flow is remembered: what is past its time, and what gives way where room is short.
//!
//! Classes have shares of the table, so that a flood of one kind cannot push the others out:
//! handshakes may take a quarter, open connections seven eighths; closed tuples take what is left and
//! give way only past their model's deadline.

use crate::entry::Entry;
use crate::flow::{SECOND_US, State, marks};
use crate::host::linux::TIME_WAIT_US;

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

/// What a flow is to the table's shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A handshake under way.
    Embryonic,
    /// Data may flow in one direction at least.
    Open,
    /// Both ends have closed; one may still hold.
    Closed,
    /// Nobody holds anything.
    Dead,
}

impl Class {
    /// The class of this state.
    #[inline]
    #[must_use]
    pub const fn of(state: State) -> Self {
        match state {
            State::SynSent | State::SynReceived => Self::Embryonic,
            State::Established | State::FinWait1 | State::FinWait2 => Self::Open,
            State::LastAck | State::Closing | State::TimeWait => Self::Closed,
            State::Reset => Self::Dead,
        }
    }

    /// Whether the class has used up its share of the tables: room in all, and tuples by state.
    #[inline]
    #[must_use]
    pub fn is_share_full(self, capacity: u64, held: &[u64; State::ALL.len()]) -> bool {
        let [syn_sent, syn_received, established, fin_wait1, fin_wait2, ..] = held;
        match self {
            Self::Embryonic => syn_sent + syn_received >= capacity / 4,
            Self::Open => established + fin_wait1 + fin_wait2 >= capacity / 8 * 7,
            Self::Closed | Self::Dead => false,
        }
    }
}

/// How long a flow of each state is kept without a packet.
const KEPT_US: [u64; State::ALL.len()] = {
    let mut kept = [0; State::ALL.len()];
    let mut n = 0;
    while n < kept.len() {
        kept[n] = match Class::of(State::ALL[n]) {
            Class::Embryonic => EMBRYONIC_US,
            Class::Open => OPEN_US,
            Class::Closed => CLOSED_US,
            Class::Dead => RESET_US,
        };
        n += 1;
    }
    kept
};

/// Whether a flow is past its time. A contested one is kept for its contest.
#[inline]
#[must_use]
pub fn is_over(entry: &Entry, now_us: u64) -> bool {
    entry.silent_us(now_us) > KEPT_US[entry.state() as usize] && !entry.is(marks::CONTESTED)
}

/// Whether a flow that is not over goes before any newcomer is turned away: reset, or closed for
/// longer than `patience_us`, which is never less than its model's deadline.
#[inline]
#[must_use]
pub fn may_go(entry: &Entry, patience_us: u64, now_us: u64) -> bool {
    let held_us = now_us.saturating_sub(entry.armed_us(now_us));
    let goes = match Class::of(entry.state()) {
        Class::Dead => true,
        Class::Closed => held_us > patience_us.max(TIME_WAIT_US),
        Class::Embryonic | Class::Open => false,
    };
    goes && !entry.is(marks::CONTESTED)
}

/// How readily a flow gives way to a newcomer of class `newcomer`: the higher, the sooner. Rank
/// first, then age.
#[inline]
#[must_use]
pub fn give_up(
    entry: &Entry,
    newcomer: Class,
    share_full: bool,
    horizon_us: u64,
    now_us: u64,
) -> Option<u64> {
    let class = Class::of(entry.state());
    if entry.is(marks::CONTESTED) || (share_full && class != newcomer) {
        return None;
    }
    let held = now_us.saturating_sub(entry.armed_us(now_us));
    let silent = entry.silent_us(now_us);
    let rank = match class {
        Class::Dead => 6,
        _ if is_over(entry, now_us) => 5,
        Class::Closed if held > horizon_us => 4,
        Class::Closed if held > TIME_WAIT_US => 3,
        Class::Embryonic => 2,
        Class::Open if silent > OPEN_IDLE_US => 1,
        Class::Closed | Class::Open => return None,
    };
    Some(rank << 56 | silent.min((1 << 56) - 1))
}
