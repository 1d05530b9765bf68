//! What spans tuples: both legs of a balancer, the rules about many connections, and how long a host
//! really holds TIME_WAIT.
//!
//! There is one aggregator. It takes every worker's outputs merged in order of time (then tuple), so
//! its findings do not depend on how many workers there are.

use alloc::vec::Vec;

use ahash::RandomState;

use crate::census::{Census, Snapshot};
use crate::collisions::Collisions;
use crate::detect::{Detectors, FeedFacts, Limits, Seen, World};
use crate::finding::{Fact, Finding, State};
use crate::host::Model;
use crate::hosts::{HostEvidence, Known};
use crate::legs::{self, Leg, Legs};
use crate::lines::Lines;
use crate::services::Services;
use crate::sight::Sight;
use crate::watch::{Kind, Output};

/// Findings that one output or moment brings, without growing.
const SAID: usize = 1 << 10;

/// What rules may know: a macro, because they are changed while this is borrowed.
macro_rules! world {
    ($self:ident) => {
        World {
            legs: &$self.legs,
            collisions: &$self.collisions,
            services: &$self.services,
            sight: &$self.sight,
        }
    };
}

/// The one aggregator behind all workers.
#[derive(Debug)]
pub struct Aggregate {
    legs: Legs,
    collisions: Collisions,
    sight: Sight,
    services: Services,
    census: Census,
    detectors: Detectors,
    hosts: HostEvidence,
    lines: Lines,
    counts: Counts,
    /// What the rules say of the output at hand.
    said: Vec<Finding>,
    /// What the capture knows of the feed.
    feed: FeedFacts,
}

/// What the aggregator counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answers that contradicted the model of their host, by model.
    pub contradicted: [u64; Model::COUNT],
    /// Hosts of which something could not be remembered because all places were taken.
    pub hosts_full: u64,
    /// Collisions that were another one, seen on the balancer's other leg.
    pub folded: u64,
    /// Alerts that folding could not remember because all places were taken.
    pub standing_full: u64,
    /// Cases that rules could not follow because all places were taken.
    pub rules_full: u64,
    /// Steps that the census could not count because all places were taken.
    pub census_full: u64,
    /// Joins of a balancer's legs.
    pub legs: legs::Counts,
}

impl Counts {
    /// Name and value of each, in the order printed; those of the legs have a group of their own.
    pub fn each(&self, mut f: impl FnMut(&'static str, u64)) {
        f("folded", self.folded);
        f("standing_full", self.standing_full);
        f("hosts_full", self.hosts_full);
        f("rules_full", self.rules_full);
        for (model, count) in Model::ALL.iter().zip(self.contradicted) {
            f(model.contradicted_word(), count);
        }
        f("census_full", self.census_full);
    }
}

impl Aggregate {
    /// Reserves everything it will ever need; seeds as for the tables.
    #[must_use]
    pub fn new(limits: &Limits, seeds: [u64; 4]) -> Self {
        let state = RandomState::with_seeds(seeds[0], seeds[1], seeds[2], seeds[3]);
        Self {
            legs: Legs::new(limits.balancers.clone(), seeds),
            collisions: Collisions::new(state.clone()),
            sight: Sight::new(state.clone()),
            services: Services::new(state.clone()),
            census: Census::new(state.clone()),
            detectors: Detectors::new(limits, seeds),
            hosts: HostEvidence::new(state.clone()),
            lines: Lines::new(state),
            counts: Counts::default(),
            said: Vec::with_capacity(SAID),
            feed: FeedFacts::default(),
        }
    }

    /// Takes the next output in order of time and emits what is to be reported.
    pub fn handle(&mut self, output: &Output, emit: &mut dyn FnMut(Finding)) {
        self.pass_time(output.at_ns, emit);
        let at_us = output.at_ns / 1000;
        match &output.kind {
            Kind::Step(step) => {
                let tuple = output.tuple();
                let step = step.unpack(&tuple, at_us);
                self.legs.see(&step, &tuple, at_us);
                self.sight.see(&step, &tuple);
                self.services.see(&step, &tuple, at_us);
                self.census.see(&step, &tuple, at_us);
                if let Some(reading) = self.lines.see(&step, &tuple, at_us) {
                    let host = tuple.end(step.sender).addr;
                    self.learn(host, |known| known.began(reading));
                }
                let seen = Seen { at_us, tuple: &tuple, step: &step };
                let world = world!(self);
                self.detectors.step(&seen, &world, &mut self.said);
                self.speak(emit);
            }
            Kind::HeldLonger { host, longer_us } => self.learn(host.addr, |known| {
                known.longer_us = known.longer_us.max(*longer_us);
            }),
            Kind::ProvenLinux(host) => self.learn(host.addr, |known| known.is_linux = true),
            Kind::Recycled(host, ahead) => self.learn(host.addr, |known| known.recycled(*ahead)),
            Kind::Contradicted(host, model) => {
                self.counts.contradicted[*model as usize] += 1;
                self.learn(host.addr, |known| {
                    known.contradictions = known.contradictions.saturating_add(1);
                });
            }
            Kind::Refusal(host, refusal) => self.learn(host.addr, |known| known.refused(*refusal)),
            Kind::Report(report) => {
                let proven = self.hosts.model(&report.holder().addr);
                let mut finding = report.finding(proven);
                if self.is_folded(&finding) {
                    return;
                }
                self.legs.annotate(&mut finding);
                self.hosts.annotate(&mut finding);
                self.report(finding, emit);
            }
        }
    }

    /// No output before `now_ns` is to come: what was due before that is emitted.
    pub fn pass_time(&mut self, now_ns: u64, emit: &mut dyn FnMut(Finding)) {
        let world = world!(self);
        self.detectors.pass_time((now_ns / 1000).saturating_sub(1), &world, &mut self.said);
        self.speak(emit);
    }

    /// End of input at `end_ns`: alerts that stand are resolved, which says nothing of what caused them.
    pub fn finish(&mut self, end_ns: u64, emit: &mut dyn FnMut(Finding)) {
        self.pass_time(end_ns + 1000, emit);
        let world = world!(self);
        self.detectors.finish(end_ns / 1000, &world, &mut self.said);
        for finding in &mut self.said {
            if finding.state == State::Resolved {
                finding.set("until", Fact::Word("end_of_input"));
            }
        }
        self.speak(emit);
    }

    /// Takes what the capture knows of the feed: what is emitted from here on is less sure by what was
    /// lost lately, or where it reaches back into a gap. Live only: a file does not say what it lacks.
    pub fn feed(&mut self, facts: FeedFacts) {
        self.feed = facts;
        self.detectors.feed(facts);
    }

    /// Takes limits that were changed while running. Nothing that was learned is lost.
    pub fn retune(&mut self, limits: &Limits) {
        self.detectors.retune(limits);
        self.legs.configure(limits.balancers.clone());
    }

    /// The legs joined so far.
    #[must_use]
    pub fn legs(&self) -> &Legs {
        &self.legs
    }

    /// Counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut rules_full = 0;
        self.detectors.each_overflow(|_, count| rules_full += count);
        let (census_full, legs) = (self.census.overflow(), self.legs.counts());
        Counts { rules_full, census_full, legs, ..self.counts }
    }

    /// The largest services and sources at `now_ns`, by the states of their connections.
    #[must_use]
    pub fn census(&self, now_ns: u64) -> Snapshot {
        self.census.snapshot(now_ns / 1000)
    }

    /// Emits what the rules said, in order of time.
    fn speak(&mut self, emit: &mut dyn FnMut(Finding)) {
        if self.said.is_empty() {
            return;
        }
        self.said.sort_by_key(|finding| finding.at_ns);
        let mut said = core::mem::take(&mut self.said);
        said.drain(..).for_each(|finding| self.report(finding, emit));
        self.said = said;
    }

    fn report(&mut self, mut finding: Finding, emit: &mut dyn FnMut(Finding)) {
        finding.confidence.lower_by_loss(self.feed.loss_ppm);
        if finding.rests_on_since_us() <= self.feed.blind_until_us {
            finding.confidence.lower(20, "capture_gap");
        }
        let world = world!(self);
        self.detectors.finding(&finding, &world);
        emit(finding);
    }

    /// One collision is one finding. A balancer that passes the holder's refusal on makes it look,
    /// on the client's leg, like a refusal by the balancer for a connection that nobody saw.
    fn is_folded(&mut self, finding: &Finding) -> bool {
        let leg = Leg::of(finding);
        if finding.state == State::Resolved {
            return self.collisions.resolve(&leg, finding.id, finding.at_ns / 1000);
        }
        let unknown = finding.fact("holder.state") == Some(Fact::Word("unknown"));
        let other = self.legs.joined_since(&leg, finding.began_ns / 1000);
        let folded = unknown && other.is_some_and(|other| self.collisions.stands_on(&other));
        self.counts.folded += u64::from(folded);
        let noted = self.collisions.fire(leg, finding.id, folded);
        self.counts.standing_full += u64::from(!noted);
        folded
    }

    fn learn(&mut self, host: [u8; 16], learn: impl FnOnce(&mut Known)) {
        self.counts.hosts_full += u64::from(!self.hosts.learn(host, learn));
    }
}
