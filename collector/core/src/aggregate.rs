//! What spans tuples: both legs of a balancer, and how long a host really holds TIME_WAIT.
//!
//! There is one aggregator. It takes every worker's outputs merged in order of time (then tuple), so
//! its findings do not depend on how many workers there are.

use ahash::RandomState;
use hashbrown::HashMap;

use crate::finding::{Fact, Finding, State};
use crate::host::linux::TIME_WAIT_US;
use crate::legs::{Leg, Legs};
use crate::watch::{Kind, Output};

/// Alerts that stand at the same time, as far as folding remembers them.
const STANDING: usize = 1 << 14;

/// Hosts whose hold time is remembered at most.
const HOSTS: usize = 1 << 14;

/// The one aggregator behind all workers.
#[derive(Debug)]
pub struct Aggregate {
    legs: Legs,
    /// Per address, the longest hold seen past the model's time, microseconds.
    held_us: HashMap<[u8; 16], u64, RandomState>,
    /// Alerts that stand, by the connection they are about.
    standing: HashMap<Leg, u64, RandomState>,
    /// Findings that are another's collision seen on the other leg, by id.
    folded: HashMap<u64, (), RandomState>,
    counts: Counts,
}

/// What the aggregator counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Hosts whose hold time could not be remembered because all places were taken.
    pub hosts_full: u64,
    /// Collisions that were another one, seen on the balancer's other leg.
    pub folded: u64,
    /// Alerts that folding could not remember because all places were taken.
    pub standing_full: u64,
}

impl Counts {
    /// Name and value of each, in the order printed.
    pub fn each(&self, mut f: impl FnMut(&'static str, u64)) {
        f("folded", self.folded);
        f("standing_full", self.standing_full);
        f("hosts_full", self.hosts_full);
    }
}

impl Aggregate {
    /// Reserves everything it will ever need; seeds as for the tables.
    #[must_use]
    pub fn new(seeds: [u64; 4]) -> Self {
        let state = RandomState::with_seeds(seeds[0], seeds[1], seeds[2], seeds[3]);
        let held_us = HashMap::with_capacity_and_hasher(2 * HOSTS, state.clone());
        let standing = HashMap::with_capacity_and_hasher(2 * STANDING, state.clone());
        let folded = HashMap::with_capacity_and_hasher(2 * STANDING, state);
        let counts = Counts::default();
        Self { legs: Legs::new(seeds), held_us, standing, folded, counts }
    }

    /// Takes the next output in order of time and emits what is to be reported.
    pub fn handle(&mut self, output: Output, emit: &mut impl FnMut(Finding)) {
        match output.kind {
            Kind::Sighting(sighting) => self.legs.see(sighting, output.at_ns / 1000),
            Kind::HeldLonger { host, held_us } => self.learn_hold(host.addr, held_us),
            Kind::Finding(mut finding) => {
                if self.is_folded(&finding) {
                    return;
                }
                self.legs.annotate(&mut finding);
                self.annotate_deadline(&mut finding);
                emit(*finding);
            }
        }
    }

    /// Counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// One collision is one finding. A balancer that passes the holder's refusal on makes it look,
    /// on the client's leg, like a refusal by the balancer for a connection that nobody saw.
    fn is_folded(&mut self, finding: &Finding) -> bool {
        let leg = Leg::of(finding);
        if finding.state == State::Resolved {
            self.standing.remove(&leg);
            return self.folded.remove(&finding.id).is_some();
        }
        let unknown = finding.fact("holder.state") == Some(Fact::Word("unknown"));
        let other = self.legs.joined_since(&leg, finding.began_ns / 1000);
        let folded = unknown && other.is_some_and(|other| self.standing.contains_key(&other));
        if folded {
            self.counts.folded += 1;
            if self.folded.len() < STANDING {
                self.folded.insert(finding.id, ());
            }
        } else if self.standing.len() < STANDING {
            self.standing.insert(leg, finding.id);
        } else {
            self.counts.standing_full += 1;
        }
        folded
    }

    fn learn_hold(&mut self, host: [u8; 16], held_us: u64) {
        if let Some(known) = self.held_us.get_mut(&host) {
            *known = held_us.max(*known);
        } else if self.held_us.len() < HOSTS {
            self.held_us.insert(host, held_us);
        } else {
            self.counts.hosts_full += 1;
        }
    }

    /// A host that was seen to hold longer than its model says does so on its other tuples too.
    fn annotate_deadline(&self, finding: &mut Finding) {
        let (Some(Fact::Address(host)), Some(Fact::Word("time_wait"))) =
            (finding.fact("holder.ip"), finding.fact("holder.state"))
        else {
            return;
        };
        let (Some(Fact::Time(deadline_ns)), Some(Fact::Number(deadline_ms))) =
            (finding.fact("holder.deadline"), finding.fact("holder.deadline_ms"))
        else {
            return;
        };
        let Some(longer_us) = self.held_us.get(&host).and_then(|us| us.checked_sub(TIME_WAIT_US))
        else {
            return;
        };
        let longer_ms = i64::try_from(longer_us / 1000).unwrap_or(i64::MAX);
        finding.set("holder.deadline", Fact::Time(deadline_ns + longer_us * 1000));
        finding.set("holder.deadline_ms", Fact::Number(deadline_ms.saturating_add(longer_ms)));
        finding.set("holder.deadline_from", Fact::Word("evidence"));
    }
}
