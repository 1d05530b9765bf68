//! The collisions that stand or stood lately, by the leg they are on: what other rules and the
//! balancer's other leg are measured against.

use ahash::RandomState;
use hashbrown::HashMap;

use crate::generations::Generations;
use crate::legs::Leg;

/// Collisions that stand at the same time, as far as they are remembered.
const STANDING: usize = 1 << 14;

/// A bounded set of standing collisions.
#[derive(Debug)]
pub struct Collisions {
    /// Alerts that stand, by the connection they are about.
    standing: HashMap<Leg, u64, RandomState>,
    /// Findings that are another's collision seen on the other leg, by id.
    folded: HashMap<u64, (), RandomState>,
    /// When the last collision on a leg was over, microseconds.
    over: Generations<Leg, u64>,
}

impl Collisions {
    /// Reserves everything it will ever need.
    #[must_use]
    pub fn new(state: RandomState) -> Self {
        let standing = HashMap::with_capacity_and_hasher(2 * STANDING, state.clone());
        let folded = HashMap::with_capacity_and_hasher(2 * STANDING, state.clone());
        Self { standing, folded, over: Generations::new(STANDING, state) }
    }

    /// A collision fires; `folded` if it is another's. `false` if all places are taken.
    pub fn fire(&mut self, leg: Leg, id: u64, folded: bool) -> bool {
        if folded {
            let room = self.folded.len() < STANDING;
            if room {
                self.folded.insert(id, ());
            }
            return room;
        }
        let room = self.standing.len() < STANDING;
        if room {
            self.standing.insert(leg, id);
        }
        room
    }

    /// A collision is over at `at_us`. Returns whether it was folded into another.
    pub fn resolve(&mut self, leg: &Leg, id: u64, at_us: u64) -> bool {
        if self.standing.remove(leg).is_some() {
            self.over.insert(*leg, at_us);
        }
        self.folded.remove(&id).is_some()
    }

    /// Whether a collision stands on this leg.
    #[must_use]
    pub fn stands_on(&self, leg: &Leg) -> bool {
        self.standing.contains_key(leg)
    }

    /// Whether a collision stands on this leg, or did at `since_us` or later.
    #[must_use]
    pub fn stood_since(&self, leg: &Leg, since_us: u64) -> bool {
        self.stands_on(leg) || self.over.get(leg).is_some_and(|at_us| *at_us >= since_us)
    }
}
