//! `half_closed`: one end's FIN is acknowledged, and the other end sends none for longer than the
//! limit: FIN_WAIT2 here, CLOSE_WAIT there.
//!
//! A FIN that nobody acknowledges is `fin_unacknowledged`'s. In a feed that shows one direction only
//! no acknowledgment is seen, so nothing is said.

use alloc::vec::Vec;

use ahash::RandomState;
use hashbrown::HashMap;

use super::{Detector, Limits, Seen, World};
use crate::finding::{Fact, Facts, Finding, Rule, State};
use crate::flow::{self, SECOND_US};
use crate::services::Service;
use crate::step::What;
use crate::subject::Subject;
use crate::timed::{Due, Timed};
use crate::tuple::Tuple;

/// Half-closed connections followed at a time.
const HALVES: usize = 1 << 16;

/// Services whose half-closed connections are counted.
const SERVICES: usize = 1 << 12;

/// One that stands is given up after this: the flow table forgets it too.
const FORGOTTEN_US: u64 = 5 * 24 * 3600 * SECOND_US;

/// Fewer than one in so many closes may be FINs that the mirror lost, so they are no worse than 3.
const LEAST_SHARE: u64 = 100;

/// A connection with one direction closed.
#[derive(Clone, Debug)]
struct Half {
    subject: Subject,
    service: Service,
    closer: &'static str,
    waiting_for: &'static str,
    /// When the FIN was acknowledged.
    since_us: u64,
    due_us: u64,
    /// The severity it was reported with.
    fired: Option<u8>,
}

impl Due for Half {
    fn due_us(&self) -> u64 {
        self.due_us
    }
}

/// A service's closes, by periods as long as the limit: this one and the one before.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// Connections that are over the limit now.
    over: u32,
    period: u64,
    closes: [u32; 2],
    fell_due: [u32; 2],
}

/// The rule.
#[derive(Debug)]
pub struct HalfClosed {
    limit_us: u64,
    many: u32,
    halves: Timed<Tuple, Half>,
    services: HashMap<Service, Tally, RandomState>,
    overflow: u64,
}

impl Detector for HalfClosed {
    const RULE: Rule = Rule {
        name: "half_closed",
        id: 7,
        summary: "one direction is closed, the other stays open for longer than the limit",
    };

    fn new(limits: &Limits, seeds: [u64; 4]) -> Self {
        let state = RandomState::with_seeds(seeds[0], seeds[1], seeds[2], seeds[3]);
        Self {
            limit_us: limits.half_closed_us.max(1),
            many: limits.half_closed_many,
            halves: Timed::new(HALVES, state.clone()),
            services: HashMap::with_capacity_and_hasher(2 * SERVICES, state),
            overflow: 0,
        }
    }

    fn step(&mut self, seen: &Seen<'_>, _world: &World<'_>, out: &mut Vec<Finding>) {
        let Seen { at_us, tuple, step } = *seen;
        let outcome = match (step.what, step.flow.state) {
            (What::Opened { .. }, _) => "replaced",
            (What::Moved, flow::State::Reset) => "reset",
            (What::Moved, _) => "closed",
            _ => return,
        };
        if let Some(half) = self.halves.remove(tuple) {
            out.extend(self.resolve(&half, outcome, at_us));
        }
        let state = step.flow.state;
        if step.before.is_some_and(|before| before < flow::State::FinWait1)
            && (flow::State::FinWait1..flow::State::Reset).contains(&state)
            && let Some(tally) = self.tally(Service::of(step, tuple), at_us)
        {
            tally.closes[0] += 1;
        }
        if state == flow::State::FinWait2 {
            self.begin(seen);
        }
    }

    fn pass_time(&mut self, now_us: u64, world: &World<'_>, out: &mut Vec<Finding>) {
        while let Some((tuple, mut half)) = self.halves.pop_due(now_us) {
            let due_us = half.due_us;
            if half.fired.is_some() {
                out.extend(self.resolve(&half, "forgotten", due_us));
                continue;
            }
            half.fired = Some(self.severity(half.service, due_us));
            half.due_us = half.since_us + self.limit_us.max(FORGOTTEN_US);
            let mut finding = half.finding(State::Firing, "pending", due_us);
            self.name_other_leg(&half, world, &mut finding);
            out.push(finding);
            self.overflow += u64::from(!self.halves.insert(tuple, half));
        }
    }

    fn finish(&mut self, end_us: u64, world: &World<'_>, out: &mut Vec<Finding>) {
        self.pass_time(end_us, world, out);
        for (_, half) in self.halves.drain() {
            out.extend(self.resolve(&half, "end_of_input", end_us));
        }
    }

    fn overflow(&self) -> u64 {
        self.overflow
    }
}

impl HalfClosed {
    fn begin(&mut self, seen: &Seen<'_>) {
        let Seen { at_us, tuple, step } = *seen;
        let (closer, waiting_for) = if step.flow.closer() == step.client {
            ("client", "server")
        } else {
            ("server", "client")
        };
        let half = Half {
            subject: Subject::connection(seen),
            service: Service::of(step, tuple),
            closer,
            waiting_for,
            since_us: at_us,
            due_us: at_us + self.limit_us,
            fired: None,
        };
        self.overflow += u64::from(!self.halves.insert(*tuple, half));
    }

    /// Many of one service are worse, if they are more than what a mirror may lose of the closes.
    fn severity(&mut self, service: Service, at_us: u64) -> u8 {
        let many = self.many;
        let Some(tally) = self.tally(service, at_us) else { return 3 };
        tally.over += 1;
        tally.fell_due[0] += 1;
        let sum = |counts: [u32; 2]| u64::from(counts[0]) + u64::from(counts[1]);
        let enough = sum(tally.fell_due) * LEAST_SHARE >= sum(tally.closes);
        if tally.over >= many && enough { 2 } else { 3 }
    }

    /// The service's counts, brought to the period of `at_us`; `None` if all places are taken.
    fn tally(&mut self, service: Service, at_us: u64) -> Option<&mut Tally> {
        let period = at_us / self.limit_us;
        if self.services.len() >= SERVICES && !self.services.contains_key(&service) {
            self.services.retain(|_, tally| tally.over > 0 || tally.period + 1 >= period);
            if self.services.len() >= SERVICES {
                self.overflow += 1;
                return None;
            }
        }
        let tally = self.services.entry(service).or_default();
        match period.saturating_sub(tally.period) {
            0 => {}
            1 => {
                tally.closes = [0, tally.closes[0]];
                tally.fell_due = [0, tally.fell_due[0]];
            }
            _ => (tally.closes, tally.fell_due) = ([0; 2], [0; 2]),
        }
        tally.period = tally.period.max(period);
        Some(tally)
    }

    /// The end of an alert, if one stands.
    fn resolve(&mut self, half: &Half, outcome: &'static str, at_us: u64) -> Option<Finding> {
        half.fired?;
        if let Some(tally) = self.services.get_mut(&half.service) {
            tally.over = tally.over.saturating_sub(1);
        }
        Some(half.finding(State::Resolved, outcome, at_us))
    }

    /// The leg on the balancer's other side, where it was joined, and whether it hangs as well.
    fn name_other_leg(&mut self, half: &Half, world: &World<'_>, finding: &mut Finding) {
        let leg = world.legs.joined_since(&half.subject.leg(), half.subject.began_us);
        let Some(leg) = leg else {
            finding.set("other_leg", Fact::Unknown);
            return;
        };
        let tuple = Tuple::between(leg.client, leg.server, half.service.realm).0;
        finding.set("other_leg.src_ip", Fact::Address(leg.client.addr));
        finding.set("other_leg.src_port", Fact::count(leg.client.port));
        finding.set("other_leg.dest_ip", Fact::Address(leg.server.addr));
        finding.set("other_leg.dest_port", Fact::count(leg.server.port));
        let hangs = self.halves.get_mut(&tuple).is_some();
        finding.set("other_leg.half_closed", Fact::Flag(hangs));
    }
}

impl Half {
    fn finding(&self, state: State, outcome: &'static str, at_us: u64) -> Finding {
        let facts = Facts::from_iter([
            ("closer", Fact::Word(self.closer)),
            ("waiting_for", Fact::Word(self.waiting_for)),
            ("age_ms", Fact::ms(at_us.saturating_sub(self.since_us))),
            ("outcome", Fact::Word(outcome)),
        ]);
        let severity = self.fired.unwrap_or(3);
        let blank = self.subject.finding(&HalfClosed::RULE, state, at_us);
        Finding { cause: "half_closed", severity, facts, ..blank }
    }
}
