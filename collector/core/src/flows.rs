//! The flow tables of one worker, IPv4 and IPv6, behind one door: finding, storing, expiry, occupancy.
//!
//! How long a flow is kept stands in `lifetime`. What is past its time is freed when it is looked at,
//! and by a sweep of bounded cost; where room is short, the sweep also frees what may go, so that
//! newcomers seldom have to weigh entries against each other.

use ahash::RandomState;

use crate::counters::Counters;
use crate::entry::Entry;
use crate::flow::{Flow, State};
use crate::host::linux::TIME_WAIT_US;
use crate::lifetime::{Class, give_up, is_over, may_go};
use crate::relation::Seen;
use crate::table::{GROUP, Hint, Index, Insert, Table, VALUE};
use crate::tuple::{Key, Tuple};

pub use crate::occupancy::Occupancy;

/// Every group is swept once in this many ticks, if there are records enough.
const SWEEP_TICKS: usize = 6000;

/// Groups swept at once for what is past its time.
const GROUPS_AT_ONCE: usize = 4;

/// Where a flow lies.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// In the IPv4 table.
    V4(Index),
    /// In the IPv6 table.
    V6(Index),
}

/// A lookup in preparation: what can be known of it before its turn.
#[derive(Clone, Copy, Debug)]
pub struct Lookup {
    hash: u64,
    hint: Hint,
}

/// Both tables and what is counted of them.
#[derive(Debug)]
pub struct Flows {
    v4: Table<2, 8>,
    v6: Table<5, 16>,
    chores_v4: Chores,
    chores_v6: Chores,
    state: RandomState,
    /// Tuples held, by state.
    held: [u64; State::ALL.len()],
    capacity: u64,
    horizon_us: u64,
    /// The youngest age at which a closed tuple had to be given up; the horizon if none was.
    remembered_us: u64,
}

/// Sweeping that a table is owed, and how it is done.
#[derive(Debug)]
struct Chores {
    /// Groups to be swept for what is past its time.
    owed: usize,
    /// Flows taken in since the last sweep.
    newcomers: usize,
    /// While room is short, closed tuples go after this: between the model's deadline and the horizon.
    patience_us: u64,
}

impl Flows {
    /// The pieces of memory that [`new`](Self::new) reserves, bytes.
    #[must_use]
    pub fn pieces(max_tuples: usize) -> [usize; 4] {
        let [a, b] = Table::<2, 8>::pieces(max_tuples);
        let [c, d] = Table::<5, 16>::pieces(max_tuples / 4);
        [a, b, c, d]
    }

    /// Room for `max_tuples` IPv4 tuples and a quarter as many IPv6 ones.
    #[must_use]
    pub fn new(max_tuples: usize, horizon_us: u64, state: RandomState) -> Self {
        let (v4, v6) = (Table::new(max_tuples), Table::new(max_tuples / 4));
        let capacity = (v4.capacity() + v6.capacity()) as u64;
        let chores = || Chores { owed: 0, newcomers: 0, patience_us: horizon_us };
        Self {
            v4,
            v6,
            chores_v4: chores(),
            chores_v6: chores(),
            state,
            held: [0; State::ALL.len()],
            capacity,
            horizon_us,
            remembered_us: horizon_us,
        }
    }

    /// The lookup of this tuple.
    #[inline]
    #[must_use]
    pub fn lookup(&self, key: &Key) -> Lookup {
        Lookup { hash: key.hash_with(&self.state), hint: Hint::default() }
    }

    /// First step of reading ahead: the tags that the lookup will need.
    ///
    /// Each step is meant to be taken for many records before the next one is: a processor has many
    /// reads, and many walks through page tables, under way at once only if they lie few instructions
    /// apart.
    #[inline]
    pub fn touch_tags(&self, is_v4: bool, lookup: &Lookup) {
        if is_v4 {
            self.v4.touch_tags(lookup.hash);
        } else {
            self.v6.touch_tags(lookup.hash);
        }
    }

    /// Second step: where the lookup will probably end.
    #[inline]
    pub fn guess(&self, is_v4: bool, lookup: &mut Lookup) {
        lookup.hint = if is_v4 { self.v4.guess(lookup.hash) } else { self.v6.guess(lookup.hash) };
    }

    /// Third step: what lies there.
    #[inline]
    pub fn touch_slot(&self, is_v4: bool, lookup: &Lookup) {
        if is_v4 {
            self.v4.touch_slot(lookup.hint);
        } else {
            self.v6.touch_slot(lookup.hint);
        }
    }

    /// Tuples held now, by state.
    #[must_use]
    pub fn occupancy(&self) -> Occupancy {
        Occupancy::of_states(self.capacity, &self.held)
    }

    /// How long closed tuples are in fact remembered, microseconds.
    #[must_use]
    pub fn remembered_us(&self) -> u64 {
        self.remembered_us
    }

    /// The tables' memory, for whoever wants to back it with huge pages.
    #[must_use]
    pub fn memory(&self) -> [(&[u8], &[u64]); 2] {
        [self.v4.memory(), self.v6.memory()]
    }

    /// The flow of this tuple and where it lies, if there is one.
    #[inline(always)]
    #[must_use]
    pub fn find(&self, key: &Key, lookup: &Lookup) -> Option<(Place, Entry)> {
        let Lookup { hash, hint } = *lookup;
        match key {
            Key::V4(key) => {
                let (index, words) = self.v4.find(hash, key, hint)?;
                Some((Place::V4(index), Entry::from_words(&words)))
            }
            Key::V6(key) => {
                let (index, words) = self.v6.find(hash, key, hint)?;
                Some((Place::V6(index), Entry::from_words(&words)))
            }
        }
    }

    /// Puts a flow back; `before` is the state it was found in.
    #[inline]
    pub fn store(&mut self, place: Place, before: State, entry: &Entry) {
        let state = entry.state();
        if before != state {
            self.held[before as usize] -= 1;
            self.held[state as usize] += 1;
        }
        match place {
            Place::V4(index) => self.v4.set(index, entry.words()),
            Place::V6(index) => self.v6.set(index, entry.words()),
        }
    }

    /// Frees the place of a flow that was found in this state.
    pub fn remove(&mut self, place: Place, state: State) {
        self.held[state as usize] -= 1;
        match place {
            Place::V4(index) => self.v4.remove(index),
            Place::V6(index) => self.v6.remove(index),
        }
    }

    /// Takes in a flow whose tuple is not there, if there is room or something gives way: that is
    /// returned. `false`: there is no place for it.
    pub fn insert(
        &mut self,
        seen: &Seen<'_>,
        entry: &Entry,
        counters: &mut Counters,
        gone: &mut impl FnMut(&Key, &Entry),
    ) -> bool {
        self.insert_at(&seen.key, seen.lookup.hash, entry, seen.now_us, counters, gone)
    }

    /// Takes in a flow of an earlier process, if its tuple is not there and there is a place for it.
    pub fn restore(
        &mut self,
        key: &Key,
        entry: &Entry,
        now_us: u64,
        counters: &mut Counters,
    ) -> bool {
        let lookup = self.lookup(key);
        self.find(key, &lookup).is_none()
            && self.insert_at(key, lookup.hash, entry, now_us, counters, &mut |_, _| {})
    }

    #[inline]
    fn insert_at(
        &mut self,
        key: &Key,
        hash: u64,
        entry: &Entry,
        now_us: u64,
        counters: &mut Counters,
        gone: &mut impl FnMut(&Key, &Entry),
    ) -> bool {
        let class = Class::of(entry.state());
        let share_full = class.is_share_full(self.capacity, &self.held);
        let (state, horizon_us) = (&self.state, self.horizon_us);
        let give_up = |words: &[u64; VALUE]| {
            give_up(&Entry::from_words(words), class, share_full, horizon_us, now_us)
        };
        let value = entry.words();
        let done = match key {
            Key::V4(key) => {
                self.chores_v4.newcomers += 1;
                if !share_full {
                    self.v4.make_room(hash, |key| Key::V4(*key).hash_with(state));
                }
                self.v4.insert(hash, key, value, share_full, give_up).map(Key::V4)
            }
            Key::V6(key) => {
                self.chores_v6.newcomers += 1;
                if !share_full {
                    self.v6.make_room(hash, |key| Key::V6(*key).hash_with(state));
                }
                self.v6.insert(hash, key, value, share_full, give_up).map(Key::V6)
            }
        };
        if matches!(done, Insert::Full) {
            counters.table_refused += 1;
            return false;
        }
        self.held[entry.state() as usize] += 1;
        if let Insert::Replaced(key, old) = done {
            let old = Entry::from_words(&old);
            self.held[old.state() as usize] -= 1;
            count_given_up(&old, now_us, &mut self.remembered_us, counters);
            gone(&key, &old);
        }
        true
    }

    /// Calls `f` with every flow that is not past its time.
    pub fn each(&self, now_us: u64, mut f: impl FnMut(&Tuple, &Flow)) {
        let mut one = |key: Key, words: &[u64; VALUE]| {
            let entry = Entry::from_words(words);
            if !is_over(&entry, now_us) {
                f(&key.tuple(), &Flow::unpack(&entry, now_us));
            }
        };
        self.v4.each(|key, words| one(Key::V4(*key), words));
        self.v6.each(|key, words| one(Key::V6(*key), words));
    }

    /// A tick of record time has passed: more is owed to the tables.
    pub fn tick(&mut self) {
        self.chores_v4.tick(self.v4.capacity() / GROUP);
        self.chores_v6.tick(self.v6.capacity() / GROUP);
    }

    /// Sweeps a part of the tables: a few groups for what is past its time, and while room is short
    /// half a group for every newcomer since the last sweep. `gone` hears of what is freed.
    pub fn sweep(
        &mut self,
        now_us: u64,
        counters: &mut Counters,
        gone: &mut impl FnMut(&Key, &Entry),
    ) {
        let Self { v4, v6, chores_v4, chores_v6, held, horizon_us, remembered_us, .. } = self;
        let mut freed = |key: Key, entry: &Entry, is_over: bool| {
            held[entry.state() as usize] -= 1;
            if !is_over {
                count_given_up(entry, now_us, remembered_us, counters);
            }
            gone(&key, entry);
        };
        chores_v4.sweep(v4, *horizon_us, now_us, &mut |key, entry, is_over| {
            freed(Key::V4(*key), entry, is_over);
        });
        chores_v6.sweep(v6, *horizon_us, now_us, &mut |key, entry, is_over| {
            freed(Key::V6(*key), entry, is_over);
        });
    }
}

impl Chores {
    fn tick(&mut self, groups: usize) {
        self.owed = (self.owed + groups / SWEEP_TICKS + 1).min(groups);
    }

    /// Sweeps what is due now; `freed` hears of each entry that is freed, and whether it was over.
    fn sweep<const KEY: usize, const SLOT: usize>(
        &mut self,
        table: &mut Table<KEY, SLOT>,
        horizon_us: u64,
        now_us: u64,
        freed: &mut impl FnMut(&[u64; KEY], &Entry, bool),
    ) {
        let newcomers = core::mem::take(&mut self.newcomers);
        let is_crowded = table.used() > table.capacity() / 32 * 31;
        let mut groups = self.owed.min(GROUPS_AT_ONCE);
        self.owed -= groups;
        if is_crowded {
            groups += newcomers / 2;
        }
        if groups > 0 {
            let patience_us = self.patience_us;
            table.sweep(groups, |key, words| {
                let entry = Entry::from_words(words);
                let over = is_over(&entry, now_us);
                let goes = over || (is_crowded && may_go(&entry, patience_us, now_us));
                if goes {
                    freed(key, &entry, over);
                }
                goes
            });
        }
        self.adapt(is_crowded, newcomers, table.capacity(), horizon_us);
    }

    /// Room that stays short makes impatient, by a factor of e in the time in which the newcomers are
    /// an eighth of the table; room to spare makes as patient again, up to the horizon.
    fn adapt(&mut self, is_crowded: bool, newcomers: usize, capacity: usize, horizon_us: u64) {
        let step_us = self.patience_us.saturating_mul(8 * newcomers as u64) / capacity as u64;
        let shortest = TIME_WAIT_US.min(horizon_us);
        let patience_us = if is_crowded {
            self.patience_us.saturating_sub(step_us)
        } else {
            self.patience_us.saturating_add(step_us)
        };
        self.patience_us = patience_us.clamp(shortest, horizon_us);
    }
}

fn count_given_up(entry: &Entry, now_us: u64, remembered_us: &mut u64, counters: &mut Counters) {
    match Class::of(entry.state()) {
        Class::Embryonic => counters.evicted_embryonic += 1,
        Class::Closed => {
            let age_us = now_us.saturating_sub(entry.armed_us(now_us));
            *remembered_us = age_us.min(*remembered_us);
            counters.evicted_closed += 1;
        }
        Class::Open | Class::Dead => counters.evicted_dead += 1,
    }
}
