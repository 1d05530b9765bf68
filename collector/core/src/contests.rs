//! The contests under way in one worker: found by tuple, settled in order of their deadlines.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use ahash::RandomState;
use hashbrown::HashMap;

use crate::contest::Contest;
use crate::tuple::Tuple;

/// A contest's place in the order of deadlines: due time, tuple, and the contest's first time, which
/// tells it from a later one on the same tuple.
type Due = Reverse<(u64, Tuple, u64)>;

/// A bounded set of contests. Nothing here allocates after the start.
#[derive(Debug)]
pub struct Contests {
    by_tuple: HashMap<Tuple, Contest, RandomState>,
    due: BinaryHeap<Due>,
    capacity: usize,
}

impl Contests {
    /// Room for `capacity` contests.
    #[must_use]
    pub fn new(capacity: usize, state: RandomState) -> Self {
        // Twice the room lets both clean up after removed entries without growing.
        let by_tuple = HashMap::with_capacity_and_hasher(2 * capacity, state);
        Self { by_tuple, due: BinaryHeap::with_capacity(2 * capacity), capacity }
    }

    /// Contests under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_tuple.len()
    }

    /// Whether none is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_tuple.is_empty()
    }

    /// Whether all places are taken.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.by_tuple.len() >= self.capacity
    }

    /// Takes in a contest; `false` if all places are taken.
    #[must_use]
    pub fn insert(&mut self, contest: Contest) -> bool {
        if self.is_full() {
            return false;
        }
        if self.due.len() >= 2 * self.capacity {
            let by_tuple = &self.by_tuple;
            self.due.retain(|Reverse((_, tuple, first_us))| {
                by_tuple.get(tuple).is_some_and(|contest| contest.first_us == *first_us)
            });
        }
        self.due.push(Reverse((contest.due_us, contest.tuple, contest.first_us)));
        self.by_tuple.insert(contest.tuple, contest);
        true
    }

    /// The contest for this tuple.
    pub fn get_mut(&mut self, tuple: &Tuple) -> Option<&mut Contest> {
        self.by_tuple.get_mut(tuple)
    }

    /// Ends the contest for this tuple.
    pub fn remove(&mut self, tuple: &Tuple) -> Option<Contest> {
        self.by_tuple.remove(tuple)
    }

    /// No contest is due before this time.
    #[inline]
    #[must_use]
    pub fn next_due_us(&self) -> u64 {
        self.due.peek().map_or(u64::MAX, |Reverse((due_us, ..))| *due_us)
    }

    /// Ends the next contest that is due by `now_us`, in order of their deadlines.
    pub fn pop_due(&mut self, now_us: u64) -> Option<Contest> {
        while self.next_due_us() <= now_us {
            let Reverse((noted_us, tuple, first_us)) = self.due.pop()?;
            let Some(contest) = self.by_tuple.get(&tuple) else { continue };
            if contest.first_us != first_us {
                continue;
            }
            if contest.due_us == noted_us {
                return self.by_tuple.remove(&tuple);
            }
            self.due.push(Reverse((contest.due_us, tuple, first_us)));
        }
        None
    }

    /// Ends all contests, at the end of input: those with the lowest tuple first.
    pub fn drain(&mut self) -> Vec<Contest> {
        self.due.clear();
        let mut left: Vec<Contest> = self.by_tuple.drain().map(|(_, contest)| contest).collect();
        left.sort_by_key(|contest| contest.tuple);
        left
    }
}
