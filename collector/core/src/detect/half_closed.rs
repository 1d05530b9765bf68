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
use crate::flow::{self, Flow, SECOND_US};
use crate::grounds::Sign;
use crate::legs::Leg;
use crate::services::Service;
use crate::shares::Shares;
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

/// A connection with one direction closed.
#[derive(Clone, Debug)]
struct Half {
    subject: Subject,
    service: Service,
    closer: &'static str,
    waiting_for: &'static str,
    /// The leg on the balancer's other side, as joined when this began: joins are forgotten sooner than
    /// half-closed connections.
    other: Option<Leg>,
    /// As it was then.
    flow: Flow,
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

/// The rule.
#[derive(Debug)]
pub struct HalfClosed {
    limit_us: u64,
    many: u32,
    halves: Timed<Tuple, Half>,
    /// Connections over the limit now, by service.
    over: HashMap<Service, u32, RandomState>,
    closes: Shares,
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
        let limit_us = limits.half_closed_us;
        Self {
            limit_us,
            many: limits.half_closed_many,
            halves: Timed::new(HALVES, state.clone()),
            over: HashMap::with_capacity_and_hasher(2 * SERVICES, state.clone()),
            closes: Shares::new(limit_us, state),
            overflow: 0,
        }
    }

    fn retune(&mut self, limits: &Limits) {
        self.limit_us = limits.half_closed_us;
        self.many = limits.half_closed_many;
        self.closes.retune(limits.half_closed_us);
    }

    fn step(&mut self, seen: &Seen<'_>, world: &World<'_>, out: &mut Vec<Finding>) {
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
        {
            self.closes.one(Service::of(step, tuple), at_us);
        }
        if state == flow::State::FinWait2 {
            self.begin(seen, world);
        }
    }

    #[inline]
    fn next_us(&self) -> u64 {
        self.halves.next_due_us()
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
        self.overflow + self.closes.overflow()
    }
}

impl HalfClosed {
    fn begin(&mut self, seen: &Seen<'_>, world: &World<'_>) {
        let Seen { at_us, tuple, step } = *seen;
        let (closer, waiting_for) = if step.flow.marks.closer() == step.client {
            ("client", "server")
        } else {
            ("server", "client")
        };
        let subject = Subject::connection(seen);
        let other = world.legs.joined_since(&subject.leg(), subject.began_us);
        let half = Half {
            subject,
            other,
            service: Service::of(step, tuple),
            closer,
            waiting_for,
            flow: step.flow,
            since_us: at_us,
            due_us: at_us + self.limit_us,
            fired: None,
        };
        self.overflow += u64::from(!self.halves.insert(*tuple, half));
    }

    /// Many of one service are worse, if they are more than what a mirror may lose of the closes.
    fn severity(&mut self, service: Service, at_us: u64) -> u8 {
        let too_large = self.closes.troubled(service, at_us);
        if self.over.len() >= SERVICES && !self.over.contains_key(&service) {
            self.overflow += 1;
            return 3;
        }
        let over = self.over.entry(service).or_insert(0);
        *over += 1;
        if too_large && *over >= self.many { 2 } else { 3 }
    }

    /// The end of an alert, if one stands.
    fn resolve(&mut self, half: &Half, outcome: &'static str, at_us: u64) -> Option<Finding> {
        half.fired?;
        if let Some(over) = self.over.get_mut(&half.service) {
            *over -= 1;
            if *over == 0 {
                self.over.remove(&half.service);
            }
        }
        Some(half.finding(State::Resolved, outcome, at_us))
    }

    /// The leg on the balancer's other side, where it was joined, and whether it hangs as well.
    fn name_other_leg(&mut self, half: &Half, world: &World<'_>, finding: &mut Finding) {
        let leg = world.legs.joined_since(&half.subject.leg(), half.subject.began_us);
        let Some(leg) = leg.or(half.other) else {
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
        // The limit may be longer than the history of packets lasts.
        let grounds = self.subject.grounds(self.since_us, Sign::HalfClosed, Some(self.flow));
        Finding { cause: "half_closed", severity, facts, grounds, ..blank }
    }
}
