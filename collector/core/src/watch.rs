//! One worker's detector: its flow table, its contests, its rules, its counters.
//!
//! It owns a share of all tuples (see [`owner`]) and never looks at another worker's. Same records
//! in, same outputs out, whatever the size of the batches.

use alloc::vec::Vec;

use ahash::RandomState;
use arrayvec::ArrayVec;
use xdpwatch_prog::record::Record;

use crate::contest::Contest;
use crate::counters::Counters;
use crate::entry::Entry;
use crate::flow::{SECOND_US, State, marks};
use crate::flows::{Flows, Lookup, Occupancy, Place};
use crate::follow::push_gone;
use crate::host::Hosts;
use crate::lifetime::is_over;
use crate::relation::Seen;
use crate::saved::Saved;
use crate::timed::Timed;
use crate::tuple::{Key, Side, Tuple};

pub use crate::output::{Kind, Output};
pub use crate::tuple::{owner, owner_of};

/// Records looked at together: enough to hide a memory access behind others.
const BATCH: usize = 64;

/// Records whose table lines are on their way while as many are worked on. More than a core can wait for
/// at once would keep it from what lies near.
const AHEAD: usize = 16;

/// Records between two steps of the sweep, whatever the size of the batches.
const SWEEP_RECORDS: u64 = 64;

/// Time in which a step of the sweep becomes due, in record time.
const TICK_US: u64 = SECOND_US / 10;

/// Sizes and choices, fixed at start.
#[derive(Clone, Debug)]
pub struct Config {
    /// IPv4 tuples held at most, by this worker; a quarter as many IPv6 ones besides.
    pub max_tuples: usize,
    /// How long closed tuples are remembered while there is room.
    pub horizon_ns: u64,
    /// Whether the VLAN ids are part of the tuple.
    pub vlan_key: bool,
    /// Whether accepted reuse becomes a finding too.
    pub all_reuse: bool,
    /// Whether the feed carries all segments with data, not only those around opening and closing.
    pub carries_data: bool,
    /// Whose TCP hosts have, as far as configured.
    pub hosts: Hosts,
    /// Seeds of the table's hash; random live, since strangers choose the tuples.
    pub seeds: [u64; 4],
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_tuples: 1 << 12,
            horizon_ns: 300 * SECOND_US * 1000,
            vlan_key: false,
            all_reuse: false,
            carries_data: false,
            hosts: Hosts::default(),
            seeds: [0; 4],
        }
    }
}

/// One worker's detector.
#[derive(Debug)]
pub struct Watch {
    pub(crate) config: Config,
    pub(crate) flows: Flows,
    pub(crate) contests: Timed<Tuple, Contest>,
    pub(crate) counters: Counters,
    now_us: u64,
    next_tick_us: u64,
    /// Nothing that time brings happens before this.
    pub(crate) next_us: u64,
}

/// A record whose turn is to come, as far as it can be known before.
#[derive(Clone, Copy)]
struct Coming {
    /// The key of an IPv4 tuple; longer ones are taken from the record once more.
    key: Option<[u64; 2]>,
    sender: Side,
    lookup: Lookup,
    now_us: u64,
}

impl Watch {
    /// Reserves everything it will ever need.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let [a, b, c, d] = config.seeds;
        let state = RandomState::with_seeds(a, b, c, d);
        let contests = (config.max_tuples / 16).clamp(1024, 1 << 16);
        let horizon_us = config.horizon_ns / 1000;
        Self {
            flows: Flows::new(config.max_tuples, horizon_us, state.clone()),
            contests: Timed::new(contests, state),
            counters: Counters::default(),
            now_us: 0,
            next_tick_us: 0,
            next_us: 0,
            config,
        }
    }

    /// Other hosts are configured, and accepted reuse is reported or not, from now on. Tuples and what is
    /// contested stay as they are.
    pub fn retune(&mut self, hosts: &Hosts, all_reuse: bool) {
        self.config.hosts.clone_from(hosts);
        self.config.all_reuse = all_reuse;
    }

    /// Takes records in order of time and appends what follows from them.
    pub fn observe(&mut self, records: &[Record], out: &mut Vec<Output>) {
        for batch in records.chunks(BATCH) {
            let mut coming = ArrayVec::<Coming, BATCH>::new();
            self.read_ahead(batch, &mut coming);
            let mut blocks = coming.chunks_mut(AHEAD);
            let mut block = blocks.next().unwrap_or_default();
            self.fetch(block);
            for records in batch.chunks(AHEAD) {
                let next = blocks.next().unwrap_or_default();
                self.fetch(next);
                for (record, coming) in records.iter().zip(&*block) {
                    self.observe_one(&self.seen(record, coming), out);
                }
                block = next;
            }
        }
    }

    #[inline(always)]
    fn seen<'a>(&self, record: &'a Record, coming: &Coming) -> Seen<'a> {
        let Coming { key, sender, lookup, now_us } = *coming;
        let key = match key {
            Some(key) => Key::V4(key),
            None => Key::of(record, self.config.vlan_key).0,
        };
        Seen { record, key, sender, lookup, now_us }
    }

    /// Looks the batch's tuples up as far as can be without waiting: the tags of their groups are near
    /// when their turn to be fetched comes.
    #[inline(never)]
    fn read_ahead(&self, batch: &[Record], coming: &mut ArrayVec<Coming, BATCH>) {
        let mut now_us = self.now_us;
        for record in batch {
            now_us = now_us.max(record.at_ns / 1000);
            let (key, sender) = Key::of(record, self.config.vlan_key);
            let lookup = self.flows.lookup(&key);
            let key = if let Key::V4(key) = key { Some(key) } else { None };
            coming.push(Coming { key, sender, lookup, now_us });
        }
        for Coming { key, lookup, .. } in coming {
            self.flows.touch_tags(key.is_some(), lookup);
        }
    }

    /// Fetches the records' table lines, to be near when their turn comes.
    #[inline(never)]
    fn fetch(&self, coming: &mut [Coming]) {
        for Coming { key, lookup, .. } in &mut *coming {
            self.flows.guess(key.is_some(), lookup);
        }
        for Coming { key, lookup, .. } in coming {
            self.flows.touch_slot(key.is_some(), lookup);
        }
    }

    /// Lets time pass: what is due by `now_ns` is appended, with its own deadline as its time.
    pub fn tick(&mut self, now_ns: u64, out: &mut Vec<Output>) {
        self.pass_time(now_ns / 1000, out);
        self.sweep(out);
    }

    /// End of input at `end_ns`: what is pending is settled.
    pub fn finish(&mut self, end_ns: u64, out: &mut Vec<Output>) {
        self.tick(end_ns, out);
        for (_, contest) in self.contests.drain() {
            self.settle(contest, self.now_us, out);
        }
    }

    /// Calls `f` with every flow that somebody may still hold, as it is to outlast this process. What is
    /// contested stays as it was before: the contest is not kept.
    pub fn held(&self, mut f: impl FnMut(&Saved)) {
        self.flows.each(self.now_us, |tuple, flow| {
            if flow.state != State::Reset {
                let mut flow = *flow;
                flow.mark(marks::CONTESTED, false);
                f(&Saved { tuple: *tuple, flow });
            }
        });
    }

    /// Takes in a flow of an earlier process, before the first record; `false` if it found no place or is
    /// past its time at `now_ns`.
    pub fn restore(&mut self, saved: &Saved, now_ns: u64) -> bool {
        self.now_us = self.now_us.max(now_ns / 1000);
        let entry = saved.flow.pack();
        let is_over = is_over(&entry, self.now_us);
        !is_over && self.flows.restore(&saved.tuple.key(), &entry, self.now_us, &mut self.counters)
    }

    /// Everything counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Tuples held now, by state.
    #[must_use]
    pub fn occupancy(&self) -> Occupancy {
        self.flows.occupancy()
    }

    /// The tables' memory, for whoever wants to back it with huge pages before it is used.
    #[must_use]
    pub fn memory(&self) -> [(&[u8], &[u64]); 2] {
        self.flows.memory()
    }

    /// How long closed tuples are in fact remembered, nanoseconds.
    #[must_use]
    pub fn remembered_ns(&self) -> u64 {
        self.flows.remembered_us() * 1000
    }

    #[inline(always)]
    fn observe_one(&mut self, seen: &Seen<'_>, out: &mut Vec<Output>) {
        self.counters.records += 1;
        self.pass_time(seen.now_us, out);
        if self.counters.records.is_multiple_of(SWEEP_RECORDS) {
            self.sweep(out);
        }
        // What is not ordinary is handed on in copies: then what is can be kept in registers.
        let Some((place, entry)) = self.flows.find(&seen.key, &seen.lookup) else {
            return self.first_seen(&{ *seen }, None, out);
        };
        if is_over(&entry, seen.now_us) {
            self.over(&{ *seen }, place, &{ entry }, out);
        } else if entry.is(marks::CONTESTED) {
            self.contested(&{ *seen }, place, entry, out);
        } else {
            self.known(seen, place, entry, out);
        }
    }

    #[inline(never)]
    fn over(&mut self, seen: &Seen<'_>, place: Place, entry: &Entry, out: &mut Vec<Output>) {
        self.flows.remove(place, entry.state());
        push_gone(out, &seen.key, entry, seen.now_us);
        self.first_seen(seen, Some(entry), out);
    }

    #[inline(always)]
    fn pass_time(&mut self, now_us: u64, out: &mut Vec<Output>) {
        self.now_us = self.now_us.max(now_us);
        if self.now_us >= self.next_us {
            self.take_time(out);
        }
    }

    #[inline(never)]
    fn take_time(&mut self, out: &mut Vec<Output>) {
        if self.contests.next_due_us() <= self.now_us {
            while let Some((_, contest)) = self.contests.pop_due(self.now_us) {
                let due_us = contest.due_us;
                self.settle(contest, due_us, out);
            }
        }
        if self.now_us >= self.next_tick_us {
            self.next_tick_us = self.now_us + TICK_US;
            self.flows.tick();
        }
        self.next_us = self.next_tick_us.min(self.contests.next_due_us());
    }

    #[inline(never)]
    fn sweep(&mut self, out: &mut Vec<Output>) {
        let now_us = self.now_us;
        let gone = &mut |key: &Key, entry: &Entry| push_gone(out, key, entry, now_us);
        self.flows.sweep(now_us, &mut self.counters, gone);
    }
}
