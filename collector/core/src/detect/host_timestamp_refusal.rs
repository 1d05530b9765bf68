//! `host_timestamp_refusal`: a server drops SYNs of one source address whose timestamps are behind the
//! last one it took from there: `tcp_tw_recycle`, in Linux before 4.12 (`tcp_peer_is_proven()`).
//!
//! Told from loss by who is hit: those behind are dropped, those ahead answered. A server that
//! answers nobody, or whose answers are not in the feed, shows no difference.

use alloc::vec::Vec;

use ahash::RandomState;
use hashbrown::HashMap;
use xdpwatch_prog::record::flags;

use super::standing::{Alert, Standing};
use super::{Detector, Limits, Seen, World};
use crate::clocks::Clocks;
use crate::finding::{Fact, Facts, Finding, Rule, State};
use crate::flow::{self, SECOND_US};
use crate::grounds::{Example, Examples, Sign};
use crate::repetition::COPY_US;
use crate::seq::ahead;
use crate::step::{Step, What};
use crate::subject::Subject;
use crate::timed::{Due, Timed};
use crate::tuple::Tuple;

/// Sources followed, each towards one server address.
const SOURCES: usize = 1 << 12;

/// SYNs that wait for what becomes of them.
const PENDING: usize = 1 << 14;

/// Alerts that stand at a time.
const STANDING: usize = 1 << 10;

/// TCP_PAWS_MSL: how long the kernel remembers a host's timestamp.
const REMEMBERED_US: u64 = 60 * SECOND_US;

/// TCP_PAWS_WINDOW: ticks that a timestamp may be behind.
const PAWS_WINDOW: i32 = 1;

/// A lone SYN that is neither answered nor repeated within this time tells nothing.
const LONE_US: u64 = 4 * SECOND_US;

/// The window is counted in parts of this time.
const PART_US: u64 = 10 * SECOND_US;

/// As many parts make the window.
const PARTS: usize = 6;

/// Least SYNs within the window.
const LEAST: u32 = 20;

/// Least of each kind: behind and dropped, ahead and answered.
const LEAST_OF_EACH: u32 = 5;

/// Source and server address, as numbers: faster to hash.
type Key = (u128, u128);

/// SYNs by what they carried and what became of them.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    behind_dropped: u32,
    behind_answered: u32,
    ahead_dropped: u32,
    ahead_answered: u32,
}

/// One source towards one server.
#[derive(Debug, Default)]
struct Source {
    /// Last TSval that the server took, and when.
    taken: Option<(u32, u64)>,
    clocks: Clocks,
    parts: [Tally; PARTS],
    part: u64,
    examples: Examples,
    seen_us: u64,
}

/// A SYN that waits.
#[derive(Debug)]
struct Pending {
    key: Key,
    ts_val: u32,
    at_us: u64,
    /// Ticks behind; `None` if the server remembers no timestamp.
    behind: Option<i32>,
    due_us: u64,
}

/// An alert that stands.
#[derive(Debug)]
struct Refusing {
    subject: Subject,
    clocks: usize,
    dropped: u32,
    answered: u32,
    due_us: u64,
}

impl Due for Pending {
    fn due_us(&self) -> u64 {
        self.due_us
    }
}

impl Due for Refusing {
    fn due_us(&self) -> u64 {
        self.due_us
    }
}

/// The rule.
#[derive(Debug)]
pub struct HostTimestampRefusal {
    sources: HashMap<Key, Source, RandomState>,
    pending: Timed<Tuple, Pending>,
    standing: Standing<Key, Refusing>,
    cleaned_us: u64,
    overflow: u64,
}

impl Detector for HostTimestampRefusal {
    const RULE: Rule = Rule {
        name: "host_timestamp_refusal",
        id: 4,
        summary: "SYNs with timestamps behind the source's last one are dropped, those ahead answered",
    };

    fn new(_limits: &Limits, seeds: [u64; 4]) -> Self {
        let state = RandomState::with_seeds(seeds[0], seeds[1], seeds[2], seeds[3]);
        Self {
            sources: HashMap::with_capacity_and_hasher(SOURCES, state.clone()),
            pending: Timed::new(PENDING, state.clone()),
            standing: Standing::new(STANDING, state),
            cleaned_us: 0,
            overflow: 0,
        }
    }

    fn step(&mut self, seen: &Seen<'_>, _world: &World<'_>, out: &mut Vec<Finding>) {
        let step = seen.step;
        match step.what {
            What::Opened { .. } if step.is_pure_syn() => self.opened(seen),
            // Its first repetition: an answer to a later one is none to the SYN that counts here.
            What::SynRepeated if waits(step) => self.ended(seen, false, out),
            What::Moved if step.before == Some(flow::State::SynSent) => {
                if step.has(flags::SYN) && step.has(flags::ACK) {
                    self.ended(seen, true, out);
                } else {
                    self.pending.remove(seen.tuple);
                }
            }
            _ => {}
        }
    }

    #[inline]
    fn next_us(&self) -> u64 {
        self.pending.next_due_us().min(self.standing.next_due_us())
    }

    fn pass_time(&mut self, now_us: u64, _world: &World<'_>, out: &mut Vec<Finding>) {
        while self.pending.pop_due(now_us).is_some() {}
        self.standing.pass_time(now_us, out);
    }

    fn finish(&mut self, end_us: u64, world: &World<'_>, out: &mut Vec<Finding>) {
        self.pass_time(end_us, world, out);
        self.standing.finish(end_us, out);
    }

    fn overflow(&self) -> u64 {
        self.overflow + self.standing.overflow()
    }
}

impl HostTimestampRefusal {
    /// A fresh SYN: is it behind what the server took last from this address?
    fn opened(&mut self, seen: &Seen<'_>) {
        let Some(ts_val) = seen.step.ts_val else { return };
        let (client, server) = seen.step.ends(seen.tuple);
        let key = (client.number().0, server.number().0);
        let at_us = seen.at_us;
        let Some(source) = self.source(key, at_us) else { return };
        source.seen_us = at_us;
        source.clocks.see(ts_val, client.port, at_us);
        let known = source.taken.filter(|(_, taken_us)| at_us - taken_us < REMEMBERED_US);
        let behind = known.map(|(taken, _)| ahead(taken, ts_val));
        let pending = Pending { key, ts_val, at_us, behind, due_us: at_us + LONE_US };
        self.overflow += u64::from(!self.pending.insert(*seen.tuple, pending));
    }

    /// What is known of the source; `None` if all places are taken.
    fn source(&mut self, key: Key, at_us: u64) -> Option<&mut Source> {
        if self.sources.len() >= SOURCES && !self.sources.contains_key(&key) {
            if at_us.saturating_sub(self.cleaned_us) >= REMEMBERED_US {
                self.cleaned_us = at_us;
                self.sources.retain(|_, old| at_us.saturating_sub(old.seen_us) < REMEMBERED_US);
            }
            if self.sources.len() >= SOURCES {
                self.overflow += 1;
                return None;
            }
        }
        Some(self.sources.entry(key).or_default())
    }

    /// It is known what became of a SYN.
    fn ended(&mut self, seen: &Seen<'_>, answered: bool, out: &mut Vec<Finding>) {
        let at_us = seen.at_us;
        let Some(pending) = self.pending.remove(seen.tuple) else { return };
        let Some(source) = self.sources.get_mut(&pending.key) else { return };
        let stale = source.taken.is_none_or(|(_, taken_us)| at_us - taken_us >= REMEMBERED_US);
        let is_behind = |ticks| ticks > PAWS_WINDOW;
        if answered && (stale || !pending.behind.is_some_and(is_behind)) {
            source.taken = Some((pending.ts_val, at_us));
        }
        let Some(ticks) = pending.behind else { return };
        let behind = is_behind(ticks);
        if behind != answered {
            let sign = Sign::Judged { behind: ticks, answered };
            source.examples.add(Example { tuple: *seen.tuple, at_us: pending.at_us, sign });
        }
        let tally = source.now(at_us);
        *match (behind, answered) {
            (true, false) => &mut tally.behind_dropped,
            (true, true) => &mut tally.behind_answered,
            (false, false) => &mut tally.ahead_dropped,
            (false, true) => &mut tally.ahead_answered,
        } += 1;
        let sum = source.sum();
        let clocks = source.clocks.count(at_us);
        let dropped = u32::from(behind && !answered);
        if let Some(alert) = self.standing.get_mut(&pending.key) {
            alert.dropped += dropped;
            alert.answered += u32::from(!behind && answered);
            alert.clocks = alert.clocks.max(clocks);
            if dropped > 0 {
                alert.due_us = at_us + REMEMBERED_US;
            }
        } else if sum.refuses() {
            let alert = Refusing {
                subject: Subject::pair(seen, at_us),
                clocks,
                dropped: sum.behind_dropped,
                answered: sum.ahead_answered,
                due_us: at_us + REMEMBERED_US,
            };
            let grounds = source.examples.grounds();
            self.standing.fire(pending.key, alert, grounds, at_us, out);
        }
    }
}

/// Whether the SYN came again, no mirror's copy of it, and has no answer yet.
fn waits(step: &Step) -> bool {
    step.flow.state == flow::State::SynSent && step.silent_us >= COPY_US
}

impl Source {
    /// The part of the window that is running.
    fn now(&mut self, at_us: u64) -> &mut Tally {
        let part = at_us / PART_US;
        let passed = (part - self.part.min(part)).min(PARTS as u64);
        for ago in 0..passed {
            self.parts[((part - ago) % PARTS as u64) as usize] = Tally::default();
        }
        self.part = part;
        &mut self.parts[(part % PARTS as u64) as usize]
    }

    fn sum(&self) -> Tally {
        self.parts.iter().fold(Tally::default(), |sum, part| Tally {
            behind_dropped: sum.behind_dropped + part.behind_dropped,
            behind_answered: sum.behind_answered + part.behind_answered,
            ahead_dropped: sum.ahead_dropped + part.ahead_dropped,
            ahead_answered: sum.ahead_answered + part.ahead_answered,
        })
    }
}

impl Tally {
    /// Whether timestamps decide who is answered: nine in ten of each kind go their way.
    fn refuses(&self) -> bool {
        let behind = self.behind_dropped + self.behind_answered;
        let ahead = self.ahead_dropped + self.ahead_answered;
        behind + ahead >= LEAST
            && self.behind_dropped >= LEAST_OF_EACH
            && self.ahead_answered >= LEAST_OF_EACH
            && self.behind_dropped * 10 >= behind * 9
            && self.ahead_answered * 10 >= ahead * 9
    }
}

impl Alert for Refusing {
    fn finding(&self, state: State, at_us: u64) -> Finding {
        let clocks = match self.clocks {
            0 => Fact::Word("per_tuple"),
            clocks => Fact::count(clocks),
        };
        let facts = Facts::from_iter([
            ("source", Fact::Address(self.subject.src().addr)),
            ("dest_ip", Fact::Address(self.subject.dst().addr)),
            ("clocks", clocks),
            ("dropped", Fact::count(self.dropped)),
            ("answered", Fact::count(self.answered)),
        ]);
        let blank = self.subject.finding(&HostTimestampRefusal::RULE, state, at_us);
        Finding { cause: "tw_recycle", severity: 1, facts, ..blank }
    }
}
