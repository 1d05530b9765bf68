//! A bounded set of things under way: found by key, settled in order of their deadlines. The worker's
//! contests lie in one, and what the rules wait for.

use alloc::collections::{BinaryHeap, VecDeque};
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::hash::Hash;

use ahash::RandomState;
use hashbrown::HashMap;

/// Something that is settled at a time of its own.
pub trait Due {
    /// That time, microseconds. It may move later at will, earlier only with [`Timed::hurry`].
    fn due_us(&self) -> u64;
}

/// A bounded set. Nothing here allocates after the start.
#[derive(Debug)]
pub struct Timed<K, V> {
    by_key: HashMap<K, V, RandomState>,
    /// Deadlines that came in their order, as those of one patience do: no heap is needed for them.
    in_order: VecDeque<(u64, K)>,
    /// The others.
    due: BinaryHeap<Reverse<(u64, K)>>,
    /// The earliest deadline noted.
    next_us: u64,
    capacity: usize,
}

impl<K: Copy + Ord + Hash, V: Due> Timed<K, V> {
    /// Room for `capacity` entries.
    #[must_use]
    pub fn new(capacity: usize, state: RandomState) -> Self {
        // Twice the room lets all three clean up after removed entries without growing.
        Self {
            by_key: HashMap::with_capacity_and_hasher(2 * capacity, state),
            in_order: VecDeque::with_capacity(2 * capacity),
            due: BinaryHeap::with_capacity(2 * capacity + 1),
            next_us: u64::MAX,
            capacity,
        }
    }

    /// Entries held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Whether all places are taken.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.by_key.len() >= self.capacity
    }

    /// Takes in an entry, in place of one with the same key; `false` if all places are taken.
    #[must_use]
    pub fn insert(&mut self, key: K, value: V) -> bool {
        if self.is_full() && !self.by_key.contains_key(&key) {
            return false;
        }
        self.note(value.due_us(), key);
        self.by_key.insert(key, value);
        true
    }

    /// The entry with this key.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.by_key.get_mut(key)
    }

    /// The entry with this key is due earlier than it was.
    pub fn hurry(&mut self, key: &K) {
        if let Some(due_us) = self.by_key.get(key).map(Due::due_us) {
            self.note(due_us, *key);
        }
    }

    /// Ends the entry with this key.
    #[inline]
    pub fn remove(&mut self, key: &K) -> Option<V> {
        // Most are asked for what is seldom there: then not even the key is hashed.
        if self.is_empty() { None } else { self.by_key.remove(key) }
    }

    /// Nothing is due before this time.
    #[inline]
    #[must_use]
    pub fn next_due_us(&self) -> u64 {
        self.next_us
    }

    /// Ends the next entry that is due by `now_us`, in order of their deadlines, then keys.
    #[inline]
    pub fn pop_due(&mut self, now_us: u64) -> Option<(K, V)> {
        if self.next_us > now_us { None } else { self.pop_noted(now_us) }
    }

    #[inline(never)]
    fn pop_noted(&mut self, now_us: u64) -> Option<(K, V)> {
        let mut found = None;
        while found.is_none() && self.earliest().is_some_and(|(due_us, _)| due_us <= now_us) {
            let Some((noted_us, key)) = self.take_earliest() else { break };
            let Some(due_us) = self.by_key.get(&key).map(Due::due_us) else { continue };
            if due_us <= noted_us {
                found = self.by_key.remove_entry(&key);
            } else {
                self.place(due_us, key);
            }
        }
        self.next_us = self.earliest().map_or(u64::MAX, |(due_us, _)| due_us);
        found
    }

    /// Ends all entries, at the end of input: those with the lowest key first.
    pub fn drain(&mut self) -> Vec<(K, V)> {
        self.in_order.clear();
        self.due.clear();
        self.next_us = u64::MAX;
        let mut left: Vec<(K, V)> = self.by_key.drain().collect();
        left.sort_by_key(|(key, _)| *key);
        left
    }

    /// The earliest deadline noted, and whose.
    fn earliest(&self) -> Option<(u64, K)> {
        let other = self.due.peek().map(|Reverse(noted)| *noted);
        match (self.in_order.front().copied(), other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    fn take_earliest(&mut self) -> Option<(u64, K)> {
        let earliest = self.earliest()?;
        if self.in_order.front() == Some(&earliest) {
            self.in_order.pop_front()
        } else {
            self.due.pop().map(|Reverse(noted)| noted)
        }
    }

    fn note(&mut self, due_us: u64, key: K) {
        self.place(due_us, key);
        self.next_us = self.next_us.min(due_us);
    }

    /// Puts a deadline in order. Those left behind by removed entries are cleaned up in time.
    fn place(&mut self, due_us: u64, key: K) {
        let most = 2 * self.capacity;
        let follows = self.in_order.back().is_none_or(|last| *last <= (due_us, key));
        if follows && self.in_order.len() < most {
            self.in_order.push_back((due_us, key));
            return;
        }
        if self.due.len() >= most {
            self.in_order.clear();
            self.due.clear();
            self.due.extend(self.by_key.iter().map(|(key, value)| Reverse((value.due_us(), *key))));
        }
        self.due.push(Reverse((due_us, key)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct At(u64);

    impl Due for At {
        fn due_us(&self) -> u64 {
            self.0
        }
    }

    fn timed(capacity: usize) -> Timed<u32, At> {
        Timed::new(capacity, RandomState::with_seeds(1, 2, 3, 4))
    }

    #[test]
    fn entries_come_out_at_their_latest_deadline_and_once() {
        let mut timed = timed(8);
        assert!(timed.insert(1, At(10)) && timed.insert(2, At(20)) && timed.insert(3, At(30)));
        timed.get_mut(&1).unwrap().0 = 25;
        timed.get_mut(&3).unwrap().0 = 5;
        timed.hurry(&3);
        let order: Vec<u32> =
            std::iter::from_fn(|| timed.pop_due(29)).map(|(key, _)| key).collect();
        assert_eq!(order, [3, 2, 1]);
        assert!(timed.is_empty() && timed.pop_due(u64::MAX).is_none());
    }

    #[test]
    fn deadlines_in_order_and_out_of_it_come_out_as_one_row() {
        let mut timed = timed(16);
        for (key, due_us) in [(1, 50), (2, 10), (3, 60), (4, 20), (5, 60), (6, 60), (0, 60)] {
            assert!(timed.insert(key, At(due_us)));
        }
        assert_eq!(timed.next_due_us(), 10);
        let order: Vec<u32> =
            std::iter::from_fn(|| timed.pop_due(60)).map(|(key, _)| key).collect();
        assert_eq!(order, [2, 4, 1, 0, 3, 5, 6], "by deadline, then key");
        assert_eq!(timed.next_due_us(), u64::MAX);
    }

    #[test]
    fn it_is_bounded_and_stays_so_under_churn() {
        let mut timed = timed(4);
        for n in 0..1000u32 {
            assert!(timed.insert(n, At(u64::from(n) + 500)));
            if n >= 3 {
                assert!(timed.remove(&(n - 3)).is_some());
            }
        }
        assert!(timed.due.len().max(timed.in_order.len()) <= 8 && timed.len() == 3);
        assert!(timed.insert(2000, At(1)) && !timed.insert(2001, At(1)), "full");
        assert!(timed.insert(2000, At(2)), "a known key has its place");
    }
}
