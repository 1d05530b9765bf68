//! The program's selection, played on the host with times of one's choice: the same parser, hash, slots
//! and windows. `tests/program.rs` holds it against the program in the kernel.

use xdpwatch_prog::maps::TRANSITION_SLOTS;
use xdpwatch_prog::select::{FIN_WINDOW_NS, SYN_WINDOW_NS, is_control, tuple_hash, window_ns};
use xdpwatch_prog::wire::Located;

/// The transition filter and its windows.
#[derive(Clone, Debug)]
pub struct Selection {
    /// When each slot's transition ends, nanoseconds.
    slots: Vec<u64>,
    seed: u64,
    /// How long after a SYN, nanoseconds.
    pub syn_window_ns: u64,
    /// How long after a FIN, nanoseconds.
    pub fin_window_ns: u64,
}

impl Default for Selection {
    fn default() -> Self {
        Self::new(TRANSITION_SLOTS, 0x5eed)
    }
}

impl Selection {
    /// With so many slots, a power of two, and the key of the hash.
    #[must_use]
    pub fn new(slots: u32, seed: u64) -> Self {
        let slots = vec![0; slots.next_power_of_two() as usize];
        Self { slots, seed, syn_window_ns: SYN_WINDOW_NS, fin_window_ns: FIN_WINDOW_NS }
    }

    /// The slot of a segment's tuple.
    #[must_use]
    pub fn slot(&self, located: &Located) -> usize {
        tuple_hash(located, self.seed) as usize & (self.slots.len() - 1)
    }

    /// Whether a segment seen at `at_ns` is handed over; one that opens or closes a connection begins
    /// its tuple's transition.
    pub fn selects(&mut self, located: &Located, at_ns: u64) -> bool {
        let slot = self.slot(located);
        let until_ns = &mut self.slots[slot];
        let tcp_flags = located.header.flags;
        if !is_control(tcp_flags) {
            return *until_ns > at_ns;
        }
        if let Some(window_ns) = window_ns(tcp_flags, self.syn_window_ns, self.fin_window_ns) {
            *until_ns = (*until_ns).max(at_ns + window_ns);
        }
        true
    }

    /// The share of slots in transition at `at_ns`.
    #[must_use]
    pub fn saturated(&self, at_ns: u64) -> f64 {
        let taken = self.slots.iter().filter(|until_ns| **until_ns > at_ns).count();
        taken as f64 / self.slots.len() as f64
    }
}
