//! Alerts that stand until nothing more was seen for a while: each fires once, is found again by its key,
//! and is resolved at its own deadline or at the end of input.

use alloc::vec::Vec;
use core::hash::Hash;

use ahash::RandomState;

use crate::finding::{Finding, State};
use crate::grounds::Grounds;
use crate::timed::{Due, Timed};

/// What stands.
pub trait Alert: Due {
    /// What is said of it in this state at this time, microseconds.
    fn finding(&self, state: State, at_us: u64) -> Finding;
}

/// The alerts of one rule that stand. Bounded; what finds no place is counted and not said, since its end
/// could not be.
#[derive(Debug)]
pub struct Standing<K, A> {
    alerts: Timed<K, A>,
    overflow: u64,
}

impl<K: Copy + Ord + Hash, A: Alert> Standing<K, A> {
    /// Room for `capacity` alerts.
    pub fn new(capacity: usize, state: RandomState) -> Self {
        Self { alerts: Timed::new(capacity, state), overflow: 0 }
    }

    /// The alert of this key, if it stands.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut A> {
        self.alerts.get_mut(key)
    }

    /// An alert fires on these grounds.
    pub fn fire(
        &mut self,
        key: K,
        alert: A,
        grounds: Option<Grounds>,
        at_us: u64,
        out: &mut Vec<Finding>,
    ) {
        let firing = Finding { grounds, ..alert.finding(State::Firing, at_us) };
        if self.alerts.insert(key, alert) {
            out.push(firing);
        } else {
            self.overflow += 1;
        }
    }

    /// Nothing is to be resolved before this time, microseconds.
    pub fn next_due_us(&self) -> u64 {
        self.alerts.next_due_us()
    }

    /// Those whose time is over are resolved.
    pub fn pass_time(&mut self, now_us: u64, out: &mut Vec<Finding>) {
        while let Some((_, alert)) = self.alerts.pop_due(now_us) {
            out.push(alert.finding(State::Resolved, alert.due_us()));
        }
    }

    /// End of input: all are resolved.
    pub fn finish(&mut self, end_us: u64, out: &mut Vec<Finding>) {
        self.pass_time(end_us, out);
        let rest = self.alerts.drain();
        out.extend(rest.iter().map(|(_, alert)| alert.finding(State::Resolved, end_us)));
    }

    /// Alerts that found no place.
    pub fn overflow(&self) -> u64 {
        self.overflow
    }
}
