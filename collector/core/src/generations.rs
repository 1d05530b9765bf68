//! A bounded map that forgets the half not asked for lately: two generations, of which the older is
//! dropped as a whole when the younger is full.

use core::hash::Hash;

use ahash::RandomState;
use hashbrown::HashMap;

/// The map. Nothing here allocates after the start.
#[derive(Debug)]
pub struct Generations<K, V> {
    young: HashMap<K, V, RandomState>,
    old: HashMap<K, V, RandomState>,
    capacity: usize,
    forgotten: u64,
}

impl<K: Copy + Eq + Hash, V> Generations<K, V> {
    /// Room for `capacity` entries in each generation.
    pub fn new(capacity: usize, state: RandomState) -> Self {
        let map = |state| HashMap::with_capacity_and_hasher(capacity, state);
        Self { young: map(state.clone()), old: map(state), capacity, forgotten: 0 }
    }

    /// The entry with this key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// The entry with this key, which stays for longer by being asked for.
    pub fn touch(&mut self, key: &K) -> Option<&mut V> {
        if !self.young.contains_key(key) {
            // Nothing there: then the key need not be hashed.
            if self.old.is_empty() {
                return None;
            }
            let value = self.old.remove(key)?;
            self.insert(*key, value);
        }
        self.young.get_mut(key)
    }

    /// Takes in an entry, in place of one with the same key.
    pub fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.capacity && !self.young.contains_key(&key) {
            self.forgotten += self.old.len() as u64;
            self.old.clear();
            core::mem::swap(&mut self.young, &mut self.old);
        }
        if !self.old.is_empty() {
            self.old.remove(&key);
        }
        self.young.insert(key, value);
    }

    /// Entries dropped to make room.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_keeps_what_is_asked_for() {
        let mut map = Generations::new(4, RandomState::with_seeds(1, 2, 3, 4));
        for n in 0..100u32 {
            map.insert(n, n);
            assert!(map.touch(&0).is_some(), "asked for each time, kept after {n}");
            assert!(map.young.len() + map.old.len() <= 8);
        }
        assert!(map.get(&99).is_some() && map.get(&50).is_none());
        assert_eq!(map.forgotten() + (map.young.len() + map.old.len()) as u64, 100);
    }

    #[test]
    fn a_key_is_there_once() {
        let mut map = Generations::new(2, RandomState::with_seeds(1, 2, 3, 4));
        (0..3).for_each(|n| map.insert(n, "first"));
        map.insert(0, "second");
        assert_eq!(map.get(&0), Some(&"second"));
        assert_eq!(map.young.len() + map.old.len(), 3);
    }
}
