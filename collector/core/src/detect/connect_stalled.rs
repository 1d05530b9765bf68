//! `connect_stalled`: a SYN repeated without an answer on a tuple that nobody held before.
//!
//! A stall on a leg that joins a collision on the balancer's other leg is that collision's, and says
//! nothing here; nor does one of a source whose timestamps the server is known to refuse. Where the feed does not show the server's direction, silence is no stall.

use alloc::vec::Vec;

use ahash::RandomState;
use hashbrown::{HashMap, HashSet};

use super::host_timestamp_refusal::HostTimestampRefusal;
use super::{Detector, Limits, Seen, World};
use crate::finding::{Endpoint, Fact, Facts, Finding, Rule, State};
use crate::flow::{self, SECOND_US};
use crate::grounds::Sign;
use crate::host::schedule::Gaps;
use crate::repetition::{COPY_US, patience_us};
use crate::services::Service;
use crate::shares::Shares;
use crate::sight::Answers;
use crate::step::What;
use crate::subject::Subject;
use crate::timed::{Due, Timed};
use crate::tuple::Tuple;

/// Stalled connects followed at a time.
const STALLS: usize = 1 << 14;

/// Services whose stalls are counted.
const SERVICES: usize = 1 << 12;

/// The most recent stalls of a service whose times are kept.
const RECENT: usize = 8;

/// Refusals by a source's timestamps that may stand at a time: no more than that rule follows.
const REFUSALS: usize = 1 << 10;

/// A connect that waits for its first answer.
#[derive(Clone, Debug)]
struct Stall {
    subject: Subject,
    last_us: u64,
    gap_us: u64,
    gaps: Gaps,
    syn_count: u32,
    ts_offered: bool,
    due_us: u64,
    /// Whether its answer would be seen, as far as is known.
    answers: Answers,
    /// The severity it was reported with.
    fired: Option<u8>,
}

impl Due for Stall {
    fn due_us(&self) -> u64 {
        self.due_us
    }
}

/// The rule.
#[derive(Debug)]
pub struct ConnectStalled {
    explain_us: u64,
    per_minute: usize,
    stalls: Timed<Tuple, Stall>,
    /// Times of the latest stalls by service, microseconds.
    services: HashMap<Endpoint, [u64; RECENT], RandomState>,
    connects: Shares,
    /// Source and server address of the standing refusals that explain stalls.
    refusals: HashSet<([u8; 16], [u8; 16]), RandomState>,
    overflow: u64,
}

impl Detector for ConnectStalled {
    const RULE: Rule = Rule {
        name: "connect_stalled",
        id: 2,
        summary: "a SYN repeated without an answer, no earlier connection held",
    };

    fn new(limits: &Limits, seeds: [u64; 4]) -> Self {
        let state = RandomState::with_seeds(seeds[0], seeds[1], seeds[2], seeds[3]);
        Self {
            explain_us: limits.explain_us,
            per_minute: limits.stalls_per_minute.min(RECENT),
            stalls: Timed::new(STALLS, state.clone()),
            services: HashMap::with_capacity_and_hasher(2 * SERVICES, state.clone()),
            connects: Shares::new(60 * SECOND_US, state.clone()),
            refusals: HashSet::with_capacity_and_hasher(2 * REFUSALS, state),
            overflow: 0,
        }
    }

    fn step(&mut self, seen: &Seen<'_>, world: &World<'_>, out: &mut Vec<Finding>) {
        if matches!(seen.step.what, What::Opened { .. }) {
            self.connects.one(Service::of(seen.step, seen.tuple), seen.at_us);
        }
        match seen.step.what {
            What::SynRepeated if seen.step.flow.state == flow::State::SynSent => {
                self.repeated(seen);
            }
            What::Moved => {
                let outcome = match seen.step.flow.state {
                    flow::State::Reset => "refused",
                    _ => "connected",
                };
                self.ended(seen, outcome, world, out);
            }
            What::Opened { .. } | What::SynOnHeld => self.ended(seen, "failed", world, out),
            _ => {}
        }
    }

    fn finding(&mut self, finding: &Finding, _world: &World<'_>) {
        if finding.rule != &HostTimestampRefusal::RULE {
            return;
        }
        let Some(Fact::Address(server)) = finding.fact("dest_ip") else { return };
        let pair = (finding.src.addr, server);
        match finding.state {
            State::Resolved => _ = self.refusals.remove(&pair),
            State::Firing if self.refusals.len() < REFUSALS => _ = self.refusals.insert(pair),
            State::Firing => self.overflow += 1,
        }
    }

    #[inline]
    fn next_us(&self) -> u64 {
        self.stalls.next_due_us()
    }

    fn pass_time(&mut self, now_us: u64, world: &World<'_>, out: &mut Vec<Finding>) {
        while let Some((tuple, mut stall)) = self.stalls.pop_due(now_us) {
            let due_us = stall.due_us;
            if stall.fired.is_some() {
                out.push(resolved(&stall, "failed", due_us));
            } else if let Some(finding) = self.fire(&mut stall, world, due_us) {
                out.push(finding);
                stall.due_us = stall.last_us + patience_us(stall.gap_us);
                self.overflow += u64::from(!self.stalls.insert(tuple, stall));
            }
        }
    }

    fn finish(&mut self, end_us: u64, world: &World<'_>, out: &mut Vec<Finding>) {
        self.pass_time(end_us, world, out);
        for (_, mut stall) in self.stalls.drain() {
            if stall.fired.is_none() {
                out.extend(self.fire(&mut stall, world, end_us));
            }
            if stall.fired.is_some() {
                out.push(resolved(&stall, "failed", end_us));
            }
        }
    }

    fn overflow(&self) -> u64 {
        self.overflow + self.connects.overflow()
    }
}

impl ConnectStalled {
    /// The SYN came again: a stall begins or goes on.
    fn repeated(&mut self, seen: &Seen<'_>) {
        let Seen { at_us, tuple, step } = *seen;
        if step.silent_us < COPY_US {
            return;
        }
        if let Some(stall) = self.stalls.get_mut(tuple) {
            stall.gap_us = at_us.saturating_sub(stall.last_us);
            stall.gaps.note(stall.gap_us);
            stall.last_us = at_us;
            stall.syn_count += 1;
            if stall.fired.is_some() {
                stall.due_us = stall.due_us.max(at_us + patience_us(stall.gap_us));
            }
            return;
        }
        let mut gaps = Gaps::default();
        gaps.note(step.silent_us);
        let stall = Stall {
            subject: Subject::connection(seen),
            last_us: at_us,
            gap_us: step.silent_us,
            gaps,
            syn_count: 2,
            ts_offered: step.ts_val.is_some(),
            due_us: at_us + self.explain_us,
            answers: Answers::Unknown,
            fired: None,
        };
        self.overflow += u64::from(!self.stalls.insert(*tuple, stall));
    }

    /// The connect came to an end, one way or the other.
    fn ended(
        &mut self,
        seen: &Seen<'_>,
        outcome: &'static str,
        world: &World<'_>,
        out: &mut Vec<Finding>,
    ) {
        let Some(mut stall) = self.stalls.remove(seen.tuple) else { return };
        if stall.fired.is_none() {
            out.extend(self.fire(&mut stall, world, seen.at_us));
        }
        if stall.fired.is_some() {
            stall.last_us = seen.at_us;
            stall.answers = world.sight.answers(&stall.subject.dst());
            out.push(resolved(&stall, outcome, seen.at_us));
        }
    }

    /// The alert, unless the other leg's collision explains the stall or no answer could be seen.
    fn fire(&mut self, stall: &mut Stall, world: &World<'_>, at_us: u64) -> Option<Finding> {
        let server = stall.subject.dst();
        stall.answers = world.sight.answers(&server);
        let not_visible = stall.answers == Answers::NotVisible;
        if not_visible || self.is_refusal(stall) || world.collides_beyond(&stall.subject.leg(), stall.subject.began_us) {
            return None;
        }
        let many = self.count(server, at_us);
        let too_large = self.connects.troubled(stall.subject.service_key(), at_us);
        let severity = if many && too_large && stall.answers == Answers::Visible { 2 } else { 3 };
        stall.fired = Some(severity);
        Some(finding(stall, State::Firing, "pending", severity, at_us))
    }

    /// Whether the server drops SYNs of this source by their timestamps.
    fn is_refusal(&self, stall: &Stall) -> bool {
        let pair = (stall.subject.src().addr, stall.subject.dst().addr);
        stall.ts_offered && self.refusals.contains(&pair)
    }

    /// Counts a stall of the service; whether it has as many within a minute as make it worse, unless
    /// its many connects would lose so many SYNs anyway.
    fn count(&mut self, service: Endpoint, at_us: u64) -> bool {
        if !self.services.contains_key(&service) && self.services.len() >= SERVICES {
            self.services.clear();
        }
        let recent = self.services.entry(service).or_insert([0; RECENT]);
        recent.rotate_right(1);
        recent[0] = at_us;
        let oldest = recent[self.per_minute.saturating_sub(1)];
        oldest > 0 && at_us.saturating_sub(oldest) <= 60 * SECOND_US
    }
}

fn resolved(stall: &Stall, outcome: &'static str, at_us: u64) -> Finding {
    finding(stall, State::Resolved, outcome, stall.fired.unwrap_or(3), at_us)
}

fn finding(
    stall: &Stall,
    state: State,
    outcome: &'static str,
    severity: u8,
    at_us: u64,
) -> Finding {
    let stall_us = stall.last_us.saturating_sub(stall.subject.began_us);
    let not_visible = stall.answers == Answers::NotVisible;
    let facts = Facts::from_iter([
        ("syn_count", Fact::count(stall.syn_count)),
        ("retry_schedule", stall.gaps.fact()),
        ("stall_ms", Fact::ms(stall_us)),
        ("answer", Fact::Word(if not_visible { "not_visible" } else { "none" })),
        ("outcome", Fact::Word(outcome)),
        ("timestamps_offered", Fact::Flag(stall.ts_offered)),
    ]);
    let blank = stall.subject.finding(&ConnectStalled::RULE, state, at_us);
    let grounds = stall.subject.grounds(stall.last_us, Sign::Unanswered, None);
    let mut finding = Finding { cause: "unanswered", severity, facts, grounds, ..blank };
    match stall.answers {
        Answers::Visible => {}
        Answers::NotVisible => finding.confidence.lower(70, "one_direction_only"),
        Answers::Unknown => finding.confidence.lower(30, "no_answer_to_anyone_seen_yet"),
    }
    finding
}
