//! A hash table of fixed capacity: packed slots in groups of 16, two candidate groups per key.
//!
//! A lookup reads two lines of tags and the slots whose tag matches; an insert takes the emptier
//! group, or replaces the entry that the caller gives up most readily. An entry moves only to make
//! room, one at a time, to its other group. It knows words, not flows: what may be given up is the
//! caller's to say.

use alloc::vec;
use alloc::vec::Vec;

use crate::lanes::{LANES, fetch, matches};

/// Slots per group: one comparison of tags.
pub const GROUP: usize = LANES;

/// The tag of a free slot.
const FREE: u8 = 0;

/// 64-bit words in a cache line.
const LINE_WORDS: usize = 8;

/// Words of value at the end of each key.
pub const VALUE: usize = crate::entry::WORDS;

/// Where an entry lies; valid until it is removed or replaced, or room is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index(usize);

/// Where an entry with this tag probably lies. A wrong hint costs time, nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    slot: usize,
    tag: u8,
}

impl Default for Hint {
    /// Nowhere.
    fn default() -> Self {
        Self { slot: usize::MAX, tag: FREE }
    }
}

/// What an insert did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insert<Key> {
    /// Taken into a free slot.
    Placed,
    /// Taken in place of the entry with this key and value.
    Replaced(Key, [u64; VALUE]),
    /// Nothing in reach may be given up.
    Full,
}

impl<Key> Insert<Key> {
    /// The same with the replaced entry's key in another form.
    pub fn map<Other>(self, f: impl FnOnce(Key) -> Other) -> Insert<Other> {
        match self {
            Self::Placed => Insert::Placed,
            Self::Replaced(key, value) => Insert::Replaced(f(key), value),
            Self::Full => Insert::Full,
        }
    }
}

/// Slots of `SLOT` words, of which the first `KEY` are the key and the next [`VALUE`] the value.
#[derive(Debug)]
pub struct Table<const KEY: usize, const SLOT: usize> {
    /// One byte per slot, 0 for a free one.
    tags: Vec<[u8; GROUP]>,
    /// The slots, after `skip` words that bring them to a cache line's beginning.
    words: Vec<u64>,
    skip: usize,
    used: usize,
    /// The group that the next sweep begins with.
    cursor: usize,
}

fn groups_for(capacity: usize) -> usize {
    capacity.div_ceil(GROUP).max(2)
}

impl<const KEY: usize, const SLOT: usize> Table<KEY, SLOT> {
    /// The pieces of memory that [`new`](Self::new) reserves for so many entries, bytes.
    #[must_use]
    pub fn pieces(capacity: usize) -> [usize; 2] {
        let groups = groups_for(capacity);
        let words = groups * GROUP * SLOT + LINE_WORDS - 1;
        [groups * GROUP, words * size_of::<u64>()]
    }

    /// Reserves room for `capacity` entries, rounded up to whole groups.
    ///
    /// Memory comes zeroed from the system, so that pages are only taken as they are used.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        const { assert!(KEY + VALUE <= SLOT && SLOT.is_multiple_of(LINE_WORDS)) };
        let groups = groups_for(capacity);
        let words = vec![0u64; groups * GROUP * SLOT + LINE_WORDS - 1];
        let misaligned = words.as_ptr() as usize / size_of::<u64>() % LINE_WORDS;
        let skip = (LINE_WORDS - misaligned) % LINE_WORDS;
        Self { tags: vec![[0; GROUP]; groups], words, skip, used: 0, cursor: 0 }
    }

    /// Entries held.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used
    }

    /// Entries that fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.tags.len() * GROUP
    }

    /// The tags' memory and the slots'.
    #[must_use]
    pub fn memory(&self) -> (&[u8], &[u64]) {
        (self.tags.as_flattened(), &self.words)
    }

    /// Fetches the tags that a lookup of `hash` will need, so that they are near when it comes.
    #[inline]
    pub fn touch_tags(&self, hash: u64) {
        for group in self.groups(hash) {
            self.tags.get(group).into_iter().for_each(fetch);
        }
    }

    /// Where a lookup of `hash` will probably end, by the tags.
    #[inline]
    #[must_use]
    pub fn guess(&self, hash: u64) -> Hint {
        let (groups, tag) = (self.groups(hash), tag_of(hash));
        let found = self.matches(groups, tag);
        // A newcomer will probably be put where there is room now.
        let room = || self.free_slot(groups).unwrap_or(groups[0] * GROUP);
        let slot = if found != 0 { first_slot(groups, found) } else { room() };
        Hint { slot, tag }
    }

    /// Fetches the slot that the hint names, so that it is near when the lookup comes.
    #[inline]
    pub fn touch_slot(&self, hint: Hint) {
        let at = self.at(hint.slot);
        for line in 0..SLOT / LINE_WORDS {
            self.words.get(at + line * LINE_WORDS).into_iter().for_each(fetch);
        }
    }

    /// The entry with this key and its value, looked for first where the hint says.
    #[inline(always)]
    #[must_use]
    pub fn find(&self, hash: u64, key: &[u64; KEY], hint: Hint) -> Option<(Index, [u64; VALUE])> {
        if self.tags.as_flattened().get(hint.slot) == Some(&hint.tag) {
            let slot = self.slot(hint.slot);
            if begins_with(slot, key) {
                return Some((Index(hint.slot), value_of::<KEY, SLOT>(slot)));
            }
        }
        let index = self.search(hash, *key)?;
        Some((index, *self.value(index)))
    }

    /// Where the entry with this key lies. The key is a copy, so that the caller's can be kept in registers.
    #[inline(never)]
    fn search(&self, hash: u64, key: [u64; KEY]) -> Option<Index> {
        let groups = self.groups(hash);
        let mut found = self.matches(groups, tag_of(hash));
        while found != 0 {
            let slot = first_slot(groups, found);
            if begins_with(self.slot(slot), &key) {
                return Some(Index(slot));
            }
            found &= found - 1;
        }
        None
    }

    #[inline]
    fn slot(&self, slot: usize) -> &[u64; SLOT] {
        let at = self.at(slot);
        self.words[at..at + SLOT].first_chunk().unwrap_or(&[0; SLOT])
    }

    /// The key of an entry.
    #[inline]
    #[must_use]
    pub fn key(&self, index: Index) -> &[u64; KEY] {
        const { assert!(KEY <= SLOT) };
        self.slot(index.0).first_chunk().unwrap_or(&[0; KEY])
    }

    /// The value of an entry.
    #[inline]
    #[must_use]
    pub fn value(&self, index: Index) -> &[u64; VALUE] {
        self.slot(index.0)[KEY..].first_chunk().unwrap_or(&[0; VALUE])
    }

    /// Sets the value of an entry.
    #[inline]
    pub fn set(&mut self, index: Index, value: &[u64; VALUE]) {
        let at = self.at(index.0) + KEY;
        self.words[at..at + VALUE].copy_from_slice(value);
    }

    /// Frees an entry.
    pub fn remove(&mut self, index: Index) {
        let tag = &mut self.tags[index.0 / GROUP][index.0 % GROUP];
        self.used -= usize::from(*tag != FREE);
        *tag = FREE;
    }

    /// Adds an entry whose key is not there yet.
    ///
    /// `give_up` scores an entry's value: the highest score is replaced first, `None` is kept. With
    /// `replace_only` a free slot is not taken, since the newcomer's class has used up its share.
    pub fn insert(
        &mut self,
        hash: u64,
        key: &[u64; KEY],
        value: &[u64; VALUE],
        replace_only: bool,
        give_up: impl Fn(&[u64; VALUE]) -> Option<u64>,
    ) -> Insert<[u64; KEY]> {
        let groups = self.groups(hash);
        if !replace_only && let Some(slot) = self.free_slot(groups) {
            self.used += 1;
            self.write(slot, hash, key, value);
            return Insert::Placed;
        }
        let Some(slot) = self.victim(groups, give_up) else { return Insert::Full };
        let old = (*self.key(Index(slot)), *self.value(Index(slot)));
        self.write(slot, hash, key, value);
        Insert::Replaced(old.0, old.1)
    }

    /// Where a newcomer of this hash would find both its groups full, moves one of their entries to
    /// its other group, if there is room. `rehash` gives the hash that a key was inserted with.
    pub fn make_room(&mut self, hash: u64, rehash: impl Fn(&[u64; KEY]) -> u64) {
        let groups = self.groups(hash);
        if self.matches(groups, FREE) != 0 || self.capacity() - self.used <= self.used / 64 {
            return;
        }
        for slot in groups.into_iter().flat_map(|group| group * GROUP..(group + 1) * GROUP) {
            let at = self.at(slot);
            let [first, second] = self.groups(rehash(self.key(Index(slot))));
            let other = if slot / GROUP == first { second } else { first };
            let free = matches(&self.tags[other], FREE);
            if free != 0 {
                let lane = free.trailing_zeros() as usize;
                self.tags[other][lane] = self.tags[slot / GROUP][slot % GROUP];
                self.tags[slot / GROUP][slot % GROUP] = FREE;
                let to = self.at(other * GROUP + lane);
                self.words.copy_within(at..at + SLOT, to);
                return;
            }
        }
    }

    /// Calls `f` with every entry's key and value.
    pub fn each(&self, mut f: impl FnMut(&[u64; KEY], &[u64; VALUE])) {
        for (group, tags) in self.tags.iter().enumerate() {
            for (lane, tag) in tags.iter().enumerate() {
                let index = Index(group * GROUP + lane);
                if *tag != FREE {
                    f(self.key(index), self.value(index));
                }
            }
        }
    }

    /// Looks at the next `groups` groups and frees the entries that `is_over` names.
    pub fn sweep(
        &mut self,
        groups: usize,
        mut is_over: impl FnMut(&[u64; KEY], &[u64; VALUE]) -> bool,
    ) {
        for _ in 0..groups.min(self.tags.len()) {
            let group = self.cursor;
            self.cursor = (group + 1) % self.tags.len();
            let free = matches(&self.tags[group], FREE);
            let begin = self.at(group * GROUP);
            let slots = self.words[begin..begin + GROUP * SLOT].chunks_exact(SLOT);
            for ((lane, slot), tag) in slots.enumerate().zip(&mut self.tags[group]) {
                let is_held = free >> lane & 1 == 0;
                if is_held && is_over(first(slot), first(&slot[KEY..])) {
                    *tag = FREE;
                    self.used -= 1;
                }
            }
        }
    }

    fn free_slot(&self, groups: [usize; 2]) -> Option<usize> {
        let free = groups.map(|group| matches(&self.tags[group], FREE));
        let emptier = usize::from(free[1].count_ones() > free[0].count_ones());
        let lane = free[emptier].trailing_zeros() as usize;
        (lane < GROUP).then_some(groups[emptier] * GROUP + lane)
    }

    /// The entry given up most readily, of the first group that has one to give up: looking at the
    /// second as well would double what a newcomer costs when all is full.
    fn victim(
        &self,
        groups: [usize; 2],
        give_up: impl Fn(&[u64; VALUE]) -> Option<u64>,
    ) -> Option<usize> {
        let best_of = |group: usize| {
            (group * GROUP..(group + 1) * GROUP)
                .filter(|slot| self.tags[slot / GROUP][slot % GROUP] != FREE)
                .filter_map(|slot| Some((give_up(self.value(Index(slot)))?, slot)))
                .max_by_key(|(score, slot)| (*score, usize::MAX - slot))
        };
        groups.into_iter().find_map(best_of).map(|(_, slot)| slot)
    }

    fn write(&mut self, slot: usize, hash: u64, key: &[u64; KEY], value: &[u64; VALUE]) {
        self.tags[slot / GROUP][slot % GROUP] = tag_of(hash);
        let at = self.at(slot);
        self.words[at..at + KEY].copy_from_slice(key);
        self.set(Index(slot), value);
    }

    /// One bit per lane with this tag: the first group's below, the second's above.
    #[inline]
    fn matches(&self, [first, second]: [usize; 2], tag: u8) -> u32 {
        matches(&self.tags[first], tag) | matches(&self.tags[second], tag) << GROUP
    }

    #[inline]
    fn at(&self, slot: usize) -> usize {
        self.skip + slot * SLOT
    }

    /// The two groups a key may lie in, from independent halves of its hash.
    #[inline]
    fn groups(&self, hash: u64) -> [usize; 2] {
        let count = self.tags.len() as u64;
        [((hash & 0xffff_ffff) * count) >> 32, ((hash >> 32) * count) >> 32].map(|g| g as usize)
    }
}

/// The first words of a slot or of its value.
#[inline]
fn first<const N: usize>(words: &[u64]) -> &[u64; N] {
    words.first_chunk().unwrap_or(&[0; N])
}

/// Whether the slot's key is this.
#[inline]
fn begins_with<const KEY: usize, const SLOT: usize>(slot: &[u64; SLOT], key: &[u64; KEY]) -> bool {
    slot.iter().zip(key).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
}

/// The slot's value.
#[inline]
fn value_of<const KEY: usize, const SLOT: usize>(slot: &[u64; SLOT]) -> [u64; VALUE] {
    core::array::from_fn(|n| slot[KEY + n])
}

/// A byte of the hash that is never 0, mixed so that it is not the group's own bits again.
#[inline]
fn tag_of(hash: u64) -> u8 {
    ((hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).max(1)
}

/// The slot of the lowest lane found in two groups; some slot of theirs if none is.
#[inline]
fn first_slot(groups: [usize; 2], found: u32) -> usize {
    let lane = found.trailing_zeros() as usize;
    groups[lane / GROUP % 2] * GROUP + lane % GROUP
}

#[cfg(test)]
mod tests;
