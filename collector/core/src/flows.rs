//! The flow tables of one worker, IPv4 and IPv6, behind one door: finding, storing, expiry, occupancy.
//!
//! How long a flow is kept stands in `lifetime`. What is past its time is freed when it is looked at,
//! and by a sweep of bounded cost; where room is short, the sweep also frees what may go, so that
//! newcomers seldom have to weigh entries against each other.

use ahash::RandomState;

use crate::counters::Counters;
use crate::flow::{Brief, Flow, State};
use crate::host::linux::TIME_WAIT_US;
use crate::lifetime::{Class, give_up, is_over, may_go};
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

/// What a lookup found.
#[derive(Clone, Copy, Debug)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A flow past its time, freed by this lookup.
    Over(Flow),
    /// A flow.
    Held(Place, Flow),
}

/// A lookup in preparation: what can be known of it before its turn.
#[derive(Clone, Copy, Debug)]
pub struct Lookup {
    key: Key,
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
    occupancy: Occupancy,
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
    /// Room for `max_tuples` IPv4 tuples and a quarter as many IPv6 ones.
    #[must_use]
    pub fn new(max_tuples: usize, horizon_us: u64, state: RandomState) -> Self {
        let (v4, v6) = (Table::new(max_tuples), Table::new(max_tuples / 4));
        let capacity = (v4.capacity() + v6.capacity()) as u64;
        let occupancy = Occupancy { capacity, ..Occupancy::default() };
        let chores = || Chores { owed: 0, newcomers: 0, patience_us: horizon_us };
        Self {
            v4,
            v6,
            chores_v4: chores(),
            chores_v6: chores(),
            state,
            occupancy,
            horizon_us,
            remembered_us: horizon_us,
        }
    }

    /// The lookup of this tuple.
    #[inline]
    #[must_use]
    pub fn lookup(&self, tuple: &Tuple) -> Lookup {
        let key = tuple.key();
        Lookup { key, hash: key.hash_with(&self.state), hint: Hint::default() }
    }

    /// First step of reading ahead: the tags that the lookup will need.
    ///
    /// Each step is meant to be taken for a whole batch before the next one is: a processor has
    /// many reads under way at once only if they lie few instructions apart.
    #[inline]
    pub fn touch_tags(&self, lookup: &Lookup) {
        match lookup.key {
            Key::V4(_) => self.v4.touch_tags(lookup.hash),
            Key::V6(_) => self.v6.touch_tags(lookup.hash),
        }
    }

    /// Second step: where the lookup will probably end.
    #[inline]
    pub fn guess(&self, lookup: &mut Lookup) {
        lookup.hint = match lookup.key {
            Key::V4(_) => self.v4.guess(lookup.hash),
            Key::V6(_) => self.v6.guess(lookup.hash),
        };
    }

    /// Third step: what lies there.
    #[inline]
    pub fn touch_slot(&self, lookup: &Lookup) {
        match lookup.key {
            Key::V4(_) => self.v4.touch_slot(lookup.hint),
            Key::V6(_) => self.v6.touch_slot(lookup.hint),
        }
    }

    /// Tuples held now, by state.
    #[must_use]
    pub fn occupancy(&self) -> Occupancy {
        self.occupancy
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

    /// The flow of this tuple. One past its time is freed.
    #[inline]
    pub fn find(&mut self, lookup: &Lookup, now_us: u64) -> Found {
        let Lookup { key, hash, hint } = lookup;
        let (place, words) = match key {
            Key::V4(key) => match self.v4.find(*hash, key, *hint) {
                Some(index) => (Place::V4(index), self.v4.value(index)),
                None => return Found::Nothing,
            },
            Key::V6(key) => match self.v6.find(*hash, key, *hint) {
                Some(index) => (Place::V6(index), self.v6.value(index)),
                None => return Found::Nothing,
            },
        };
        let flow = Flow::unpack(&words, now_us);
        if is_over(&flow.brief(), now_us) {
            self.remove(place, flow.state);
            return Found::Over(flow);
        }
        Found::Held(place, flow)
    }

    /// Puts a flow back; `before` is the state it was found in.
    #[inline]
    pub fn store(&mut self, place: Place, before: State, flow: &Flow) {
        if before != flow.state {
            *self.occupancy.of(before) -= 1;
            *self.occupancy.of(flow.state) += 1;
        }
        match place {
            Place::V4(index) => self.v4.set(index, &flow.pack()),
            Place::V6(index) => self.v6.set(index, &flow.pack()),
        }
    }

    /// Takes in a flow whose tuple is not there, if there is room or something gives way: that is
    /// returned.
    pub fn insert(
        &mut self,
        lookup: &Lookup,
        flow: &Flow,
        now_us: u64,
        counters: &mut Counters,
    ) -> Option<(Tuple, Flow)> {
        let class = Class::of(flow.state);
        let share_full = class.is_share_full(&self.occupancy);
        let (state, horizon_us, hash) = (&self.state, self.horizon_us, lookup.hash);
        let give_up = |words: &[u64; VALUE]| {
            give_up(&Brief::of(words, now_us), class, share_full, horizon_us, now_us)
        };
        let value = flow.pack();
        let done = match &lookup.key {
            Key::V4(key) => {
                self.chores_v4.newcomers += 1;
                if !share_full {
                    self.v4.make_room(hash, |key| Key::V4(*key).hash_with(state));
                }
                self.v4.insert(hash, key, &value, share_full, give_up).map(Key::V4)
            }
            Key::V6(key) => {
                self.chores_v6.newcomers += 1;
                if !share_full {
                    self.v6.make_room(hash, |key| Key::V6(*key).hash_with(state));
                }
                self.v6.insert(hash, key, &value, share_full, give_up).map(Key::V6)
            }
        };
        if matches!(done, Insert::Full) {
            counters.table_refused += 1;
            return None;
        }
        *self.occupancy.of(flow.state) += 1;
        let Insert::Replaced(key, old) = done else { return None };
        let old = Flow::unpack(&old, now_us);
        *self.occupancy.of(old.state) -= 1;
        count_given_up(&old.brief(), now_us, &mut self.remembered_us, counters);
        Some((key.tuple(), old))
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
        gone: &mut impl FnMut(&Tuple, &Flow),
    ) {
        let Self { v4, v6, chores_v4, chores_v6, occupancy, horizon_us, remembered_us, .. } = self;
        let mut freed = |key: Key, words: &[u64; VALUE], is_over: bool| {
            let flow = Flow::unpack(words, now_us);
            *occupancy.of(flow.state) -= 1;
            if !is_over {
                count_given_up(&flow.brief(), now_us, remembered_us, counters);
            }
            gone(&key.tuple(), &flow);
        };
        chores_v4.sweep(v4, *horizon_us, now_us, &mut |key, words, is_over| {
            freed(Key::V4(*key), words, is_over);
        });
        chores_v6.sweep(v6, *horizon_us, now_us, &mut |key, words, is_over| {
            freed(Key::V6(*key), words, is_over);
        });
    }

    fn remove(&mut self, place: Place, state: State) {
        *self.occupancy.of(state) -= 1;
        match place {
            Place::V4(index) => self.v4.remove(index),
            Place::V6(index) => self.v6.remove(index),
        }
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
        freed: &mut impl FnMut(&[u64; KEY], &[u64; VALUE], bool),
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
                let flow = Brief::of(words, now_us);
                let over = is_over(&flow, now_us);
                let goes = over || (is_crowded && may_go(&flow, patience_us, now_us));
                if goes {
                    freed(key, words, over);
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

fn count_given_up(flow: &Brief, now_us: u64, remembered_us: &mut u64, counters: &mut Counters) {
    match Class::of(flow.state) {
        Class::Embryonic => counters.evicted_embryonic += 1,
        Class::Closed => {
            let age_us = now_us.saturating_sub(flow.armed_us);
            *remembered_us = age_us.min(*remembered_us);
            counters.evicted_closed += 1;
        }
        Class::Open | Class::Dead => counters.evicted_dead += 1,
    }
}
