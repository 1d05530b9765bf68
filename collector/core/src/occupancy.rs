//! How many tuples the tables hold, by state.

use crate::flow::State;

/// Tuples held now, by state, and how long closed ones are remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
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

impl Occupancy {
    /// From the counts of all states.
    #[must_use]
    pub fn of_states(capacity: u64, counts: &[u64; State::ALL.len()]) -> Self {
        let mut occupancy = Self { capacity, ..Self::default() };
        for (state, count) in State::ALL.into_iter().zip(counts) {
            *occupancy.of(state) = *count;
        }
        occupancy
    }

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

    /// The count of this state.
    #[inline]
    pub fn of(&mut self, state: State) -> &mut u64 {
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
