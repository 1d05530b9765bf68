//! The collisions that stand, by the leg they are on: what other rules and the balancer's other leg
//! are measured against.

use ahash::RandomState;
use hashbrown::HashMap;

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
}

impl Collisions {
    /// Reserves everything it will ever need.
    #[must_use]
    pub fn new(state: RandomState) -> Self {
        let standing = HashMap::with_capacity_and_hasher(2 * STANDING, state.clone());
        Self { standing, folded: HashMap::with_capacity_and_hasher(2 * STANDING, state) }
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

    /// A collision is over. Returns whether it was folded into another.
    pub fn resolve(&mut self, leg: &Leg, id: u64) -> bool {
        self.standing.remove(leg);
        self.folded.remove(&id).is_some()
    }

    /// Whether a collision stands on this leg.
    #[must_use]
    pub fn stands_on(&self, leg: &Leg) -> bool {
        self.standing.contains_key(leg)
    }
}
