//! `mixed_clocks`: the SYN timestamps of one source address come from several clocks, as behind a NAT
//! or a balancer that mixes clients.
//!
//! Clocks are compared on one tuple; across tuples only on lines that several ports share, and only
//! towards one server address: kernels since 4.10 offset their timestamps for each pair of hosts or
//! tuple. A clock that restarts goes back once, and is no finding.

use alloc::vec::Vec;

use ahash::RandomState;
use hashbrown::HashMap;

use super::standing::{Alert, Standing};
use super::{Detector, Limits, Seen, World, tuple_reuse};
use crate::clocks::{Clocks, Reading};
use crate::finding::{Fact, Facts, Finding, Rule, State};
use crate::flow::SECOND_US;
use crate::grounds::{Example, Examples, Sign};
use crate::seq::ahead;
use crate::step::{Step, What};
use crate::subject::Subject;
use crate::timed::Due;

/// Sources followed.
const SOURCES: usize = 1 << 12;

/// Alerts that stand at a time.
const STANDING: usize = 1 << 10;

/// Regressions count together within this time.
const WINDOW_US: u64 = 60 * SECOND_US;

/// Resolved after so long without one.
const QUIET_US: u64 = 120 * SECOND_US;

/// As many between tuples within the window are a finding.
const BETWEEN_TUPLES: usize = 10;

/// As many on tuples that came back are one.
const WITHIN_TUPLES: usize = 3;

/// Source and server address, as numbers: faster to hash.
type Key = (u128, u128);

/// One source towards one server.
#[derive(Debug, Default)]
struct Source {
    clocks: Clocks,
    between: [u64; BETWEEN_TUPLES],
    within: [u64; WITHIN_TUPLES],
    seen_us: u64,
    /// The SYN before.
    last: Option<Example>,
    examples: Examples,
    /// When a refusal by PAWS was last seen.
    refused_us: Option<u64>,
}

/// An alert that stands.
#[derive(Debug)]
struct Mixed {
    subject: Subject,
    clocks: usize,
    regressions: u32,
    severity: u8,
    due_us: u64,
}

impl Due for Mixed {
    fn due_us(&self) -> u64 {
        self.due_us
    }
}

/// The rule.
#[derive(Debug)]
pub struct MixedClocks {
    sources: HashMap<Key, Source, RandomState>,
    standing: Standing<Key, Mixed>,
    /// Alerts that became severe by another rule's finding and are still to be said.
    worse: Vec<Finding>,
    cleaned_us: u64,
    overflow: u64,
}

impl Detector for MixedClocks {
    const RULE: Rule = Rule {
        name: "mixed_clocks",
        id: 5,
        summary: "timestamps of one source address come from several clocks",
    };

    fn new(_limits: &Limits, seeds: [u64; 4]) -> Self {
        let state = RandomState::with_seeds(seeds[0], seeds[1], seeds[2], seeds[3]);
        Self {
            sources: HashMap::with_capacity_and_hasher(SOURCES, state.clone()),
            standing: Standing::new(STANDING, state),
            worse: Vec::with_capacity(STANDING),
            cleaned_us: 0,
            overflow: 0,
        }
    }

    fn step(&mut self, seen: &Seen<'_>, _world: &World<'_>, out: &mut Vec<Finding>) {
        let step = seen.step;
        let Some(ts_val) = step.ts_val.filter(|_| step.is_pure_syn()) else { return };
        let is_new = match step.what {
            What::Opened { .. } => true,
            What::SynOnHeld => step.last_clock.is_some(),
            _ => false,
        };
        if !is_new {
            return;
        }
        let (client, server) = (seen.tuple.end(step.sender), seen.tuple.end(step.sender.peer()));
        let key = (client.number().0, server.number().0);
        let Some(source) = self.source(key, seen.at_us) else { return };
        source.seen_us = seen.at_us;
        let mut regressed = false;
        if let Some(ticks) = went_back(step, ts_val) {
            source.within.rotate_right(1);
            source.within[0] = seen.at_us;
            source.examples.add(Example::of(seen, Sign::BehindItself(ticks)));
            regressed = true;
        }
        if let Reading::Regressed(ticks) = source.clocks.see(ts_val, client.port, seen.at_us) {
            source.between.rotate_right(1);
            source.between[0] = seen.at_us;
            source.last.into_iter().for_each(|before| source.examples.add(before));
            source.examples.add(Example::of(seen, Sign::BehindOthers(ticks)));
            regressed = true;
        }
        source.last = Some(Example::of(seen, Sign::Before));
        if regressed {
            self.regressed(key, seen, out);
        }
    }

    fn finding(&mut self, finding: &Finding, _world: &World<'_>) {
        let firing = finding.state == State::Firing;
        if finding.rule != &tuple_reuse::RULE || finding.cause != "paws" || !firing {
            return;
        }
        let key = (finding.src.number().0, finding.dst.number().0);
        let at_us = finding.at_ns / 1000;
        if let Some(source) = self.sources.get_mut(&key) {
            source.refused_us = Some(at_us);
        }
        if let Some(alert) = self.standing.get_mut(&key).filter(|alert| alert.severity > 2) {
            alert.severity = 2;
            self.worse.push(alert.finding(State::Firing, at_us));
        }
    }

    #[inline]
    fn next_us(&self) -> u64 {
        if self.worse.is_empty() { self.standing.next_due_us() } else { 0 }
    }

    fn pass_time(&mut self, now_us: u64, _world: &World<'_>, out: &mut Vec<Finding>) {
        out.append(&mut self.worse);
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

impl MixedClocks {
    /// What is known of the source; `None` if all places are taken.
    fn source(&mut self, key: Key, at_us: u64) -> Option<&mut Source> {
        if self.sources.len() >= SOURCES && !self.sources.contains_key(&key) {
            if at_us.saturating_sub(self.cleaned_us) >= WINDOW_US {
                self.cleaned_us = at_us;
                self.sources.retain(|_, old| at_us.saturating_sub(old.seen_us) < WINDOW_US);
            }
            if self.sources.len() >= SOURCES {
                self.overflow += 1;
                return None;
            }
        }
        Some(self.sources.entry(key).or_default())
    }

    fn regressed(&mut self, key: Key, seen: &Seen<'_>, out: &mut Vec<Finding>) {
        let at_us = seen.at_us;
        let Some(source) = self.sources.get(&key) else { return };
        let clocks = source.clocks.count(at_us);
        if let Some(alert) = self.standing.get_mut(&key) {
            alert.regressions += 1;
            alert.clocks = alert.clocks.max(clocks);
            alert.due_us = at_us + QUIET_US;
            return;
        }
        let recent = |us: u64| us > 0 && at_us.saturating_sub(us) <= WINDOW_US;
        let regressions = source.between.iter().chain(&source.within).filter(|us| recent(**us));
        let regressions = regressions.count() as u32;
        if !recent(source.between[BETWEEN_TUPLES - 1]) && !recent(source.within[WITHIN_TUPLES - 1]) {
            return;
        }
        let severity = if source.refused_us.is_some_and(recent) { 2 } else { 3 };
        let subject = Subject::pair(seen, at_us);
        let due_us = at_us + QUIET_US;
        let grounds = source.examples.grounds();
        let alert = Mixed { subject, clocks, regressions, severity, due_us };
        self.standing.fire(key, alert, grounds, at_us, out);
    }
}

impl Alert for Mixed {
    fn finding(&self, state: State, at_us: u64) -> Finding {
        let clocks = match self.clocks {
            0 | 1 => Fact::Word("per_tuple"),
            clocks => Fact::count(clocks),
        };
        let facts = Facts::from_iter([
            ("source", Fact::Address(self.subject.src().addr)),
            ("dest_ip", Fact::Address(self.subject.dst().addr)),
            ("clocks", clocks),
            ("regressions", Fact::count(self.regressions)),
        ]);
        let blank = self.subject.finding(&MixedClocks::RULE, state, at_us);
        Finding { cause: "several_clocks", severity: self.severity, facts, ..blank }
    }
}

/// How far the tuple's own clock went back since the connection before, if it did.
fn went_back(step: &Step, ts_val: u32) -> Option<i32> {
    step.last_clock.map(|last| ahead(last, ts_val)).filter(|ticks| *ticks > 0)
}
