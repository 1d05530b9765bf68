//! `churn`: a service's connections are short, one side closes nearly all of them first, and their
//! tuples come back before TIME_WAIT is well over: what turns reuse of tuples into an accident.
//!
//! Judged by periods that are aligned to the clock. A busy service whose tuples stay away long
//! enough, and one that keeps its connections, say nothing. Connections that end by RST are not
//! counted: they leave no TIME_WAIT.

use alloc::vec::Vec;

use ahash::RandomState;
use hashbrown::HashMap;

use super::{Detector, Limits, Seen, World};
use crate::finding::{Fact, Facts, Finding, Rule, State};
use crate::flow::{self, Flow, SECOND_US, marks};
use crate::grounds::{Example, Examples, Sign};
use crate::histogram::Histogram;
use crate::services::Service;
use crate::step::{Step, What};
use crate::subject::Subject;

/// Services counted in one period.
const SERVICES: usize = 1 << 11;

/// One period, microseconds.
const PERIOD_US: u64 = 10 * SECOND_US;

/// An alert is resolved after so many periods in a row without churn.
const CALM_PERIODS: u32 = 3;

/// Of a hundred closes, as many by one side mean that it closes first.
const ONE_SIDE_PERCENT: u64 = 90;

/// A service's period.
#[derive(Debug)]
struct Period {
    subject: Subject,
    opened: u64,
    /// First FINs by client and server.
    closed: [u64; 2],
    life_ms: Histogram,
    reuse_ms: Histogram,
    reused: u64,
    request_bytes: Histogram,
    response_bytes: Histogram,
    /// Tuples that came back.
    examples: Examples,
    /// The alert that stands: its subject, and for how many periods there was no churn.
    standing: Option<(Subject, u32)>,
}

/// The rule.
#[derive(Debug)]
pub struct Churn {
    per_s: u64,
    life_ms: u64,
    reuse_us: u64,
    reused_percent: u64,
    services: HashMap<Service, Period, RandomState>,
    /// Room for the services in order, so that a period's end does not grow it.
    order: Vec<Service>,
    period_end_us: u64,
    overflow: u64,
}

impl Detector for Churn {
    const RULE: Rule = Rule {
        name: "churn",
        id: 9,
        summary: "short connections, closed first by one side, whose tuples come back fast",
    };

    fn new(limits: &Limits, seeds: [u64; 4]) -> Self {
        let state = RandomState::with_seeds(seeds[0], seeds[1], seeds[2], seeds[3]);
        Self {
            per_s: limits.churn_per_s,
            life_ms: limits.churn_life_us / 1000,
            reuse_us: limits.churn_reuse_us,
            reused_percent: limits.churn_reused_percent,
            services: HashMap::with_capacity_and_hasher(2 * SERVICES, state),
            order: Vec::with_capacity(SERVICES),
            period_end_us: 0,
            overflow: 0,
        }
    }

    fn step(&mut self, seen: &Seen<'_>, world: &World<'_>, _out: &mut Vec<Finding>) {
        let Seen { at_us, step, .. } = *seen;
        if self.services.is_empty() {
            self.period_end_us = (at_us / PERIOD_US + 1) * PERIOD_US;
        }
        match step.what {
            What::Opened { previous_us } if step.flow.marks.client().is_some() => {
                let reuse_us = previous_us.filter(|us| *us <= self.reuse_us);
                // A port that never took a connection is no service: a scan shall take no places.
                let service = Service::of(step, seen.tuple);
                if world.services.alive_us(&service).is_none() {
                    return;
                }
                let Some(period) = self.period(seen) else { return };
                period.opened += 1;
                if let Some(us) = reuse_us {
                    period.reused += 1;
                    period.reuse_ms.add(us / 1000);
                    let after_ms = u32::try_from(us / 1000).unwrap_or(u32::MAX);
                    period.examples.add(Example::of(seen, Sign::CameBack(after_ms)));
                }
            }
            What::Moved if is_first_close(step) => {
                if let Some(period) = self.period(seen) {
                    period.closes(seen, world);
                }
            }
            _ => {}
        }
    }

    #[inline]
    fn next_us(&self) -> u64 {
        if self.services.is_empty() { u64::MAX } else { self.period_end_us }
    }

    fn pass_time(&mut self, now_us: u64, _world: &World<'_>, out: &mut Vec<Finding>) {
        while !self.services.is_empty() && self.period_end_us <= now_us {
            self.end_period(out);
        }
    }

    fn finish(&mut self, end_us: u64, world: &World<'_>, out: &mut Vec<Finding>) {
        self.pass_time(end_us, world, out);
        let mut standing: Vec<_> = self.services.drain().collect();
        standing.sort_by_key(|(service, _)| *service);
        for (_, period) in &standing {
            if let Some((subject, _)) = &period.standing {
                out.push(period.finding(subject, State::Resolved, end_us));
            }
        }
    }

    fn overflow(&self) -> u64 {
        self.overflow
    }
}

impl Churn {
    /// The period of this step's service; `None` if all places are taken.
    fn period(&mut self, seen: &Seen<'_>) -> Option<&mut Period> {
        let service = Service::of(seen.step, seen.tuple);
        if self.services.len() >= SERVICES && !self.services.contains_key(&service) {
            self.overflow += 1;
            return None;
        }
        let began_us = self.period_end_us - PERIOD_US;
        let new = || Period::new(Subject::service(seen, began_us));
        Some(self.services.entry(service).or_insert_with(new))
    }

    /// Judges every service's period and begins the next.
    fn end_period(&mut self, out: &mut Vec<Finding>) {
        let end_us = self.period_end_us;
        self.order.clear();
        self.order.extend(self.services.keys().copied());
        self.order.sort_unstable();
        for service in &self.order {
            let Some(mut period) = self.services.remove(service) else { continue };
            let churns = self.churns(&period);
            let standing = match (period.standing.take(), churns) {
                (Some((subject, _)), true) => Some((subject, 0)),
                (Some((subject, calm)), false) if calm + 1 < CALM_PERIODS => {
                    Some((subject, calm + 1))
                }
                (Some((subject, _)), false) => {
                    out.push(period.finding(&subject, State::Resolved, end_us));
                    None
                }
                (None, true) => {
                    out.push(period.finding(&period.subject, State::Firing, end_us));
                    Some((period.subject.clone(), 0))
                }
                (None, false) => None,
            };
            if let Some((subject, calm)) = standing {
                let mut next = subject.clone();
                next.began_us = end_us;
                let next = Period { standing: Some((subject, calm)), ..Period::new(next) };
                self.services.insert(*service, next);
            }
        }
        self.period_end_us += PERIOD_US;
    }

    fn churns(&self, period: &Period) -> bool {
        let closes: u64 = period.closed.iter().sum();
        let one_side = period.closed[0].max(period.closed[1]);
        closes >= self.per_s * (PERIOD_US / SECOND_US)
            && one_side * 100 >= closes * ONE_SIDE_PERCENT
            && period.reused > 0
            && period.reused * 100 >= period.opened * self.reused_percent
            && period.life_ms.median().is_some_and(|ms| ms <= self.life_ms)
    }
}

/// Whether this is the first FIN of a connection whose handshake was seen.
fn is_first_close(step: &Step) -> bool {
    let opened = step.before.is_some_and(|before| before < flow::State::FinWait1);
    let closes = (flow::State::FinWait1..flow::State::Reset).contains(&step.flow.state);
    opened && closes && step.flow.is(marks::CLIENT_KNOWN)
}

impl Period {
    fn new(subject: Subject) -> Self {
        Self {
            subject,
            opened: 0,
            closed: [0; 2],
            life_ms: Histogram::default(),
            reuse_ms: Histogram::default(),
            reused: 0,
            request_bytes: Histogram::default(),
            response_bytes: Histogram::default(),
            examples: Examples::default(),
            standing: None,
        }
    }

    fn closes(&mut self, seen: &Seen<'_>, world: &World<'_>) {
        let Seen { at_us, tuple, step } = *seen;
        let flow: &Flow = &step.flow;
        let by_server = flow.marks.closer() != step.client;
        self.closed[usize::from(by_server)] += 1;
        self.life_ms.add(at_us.saturating_sub(flow.first_us) / 1000);
        // A FIN takes a sequence number too.
        let sent = |next: u32, first: u32, fin: bool| {
            u64::from(next.wrapping_sub(first)).saturating_sub(u64::from(fin))
        };
        let first = flow.isn.wrapping_add(1);
        self.request_bytes.add(sent(flow.end(step.client).next, first, !by_server));
        if let Some(beginning) = world.services.beginning(tuple, flow.first_us) {
            let next = flow.end(step.client.peer()).next;
            self.response_bytes.add(sent(next, beginning.next, by_server));
        }
    }

    fn finding(&self, subject: &Subject, state: State, at_us: u64) -> Finding {
        let closes: u64 = self.closed.iter().sum();
        let (side, one_side) = if self.closed[1] > self.closed[0] {
            ("server", self.closed[1])
        } else {
            ("client", self.closed[0])
        };
        let percent = |part: u64, whole: u64| match (part * 100).checked_div(whole) {
            Some(percent) => Fact::count(percent),
            None => Fact::Unknown,
        };
        let median = |of: &Histogram| of.median().map_or(Fact::Unknown, Fact::count);
        let [ip, port] = subject.service_facts();
        let facts = Facts::from_iter([
            ip,
            port,
            ("per_s", Fact::count(closes / (PERIOD_US / SECOND_US))),
            ("median_life_ms", median(&self.life_ms)),
            ("closes_first", if closes > 0 { Fact::Word(side) } else { Fact::Unknown }),
            ("closes_first_percent", percent(one_side, closes)),
            ("reused_percent", percent(self.reused, self.opened)),
            ("median_reuse_ms", median(&self.reuse_ms)),
            ("median_request_bytes", median(&self.request_bytes)),
            ("median_response_bytes", median(&self.response_bytes)),
        ]);
        let blank = subject.finding(&Churn::RULE, state, at_us);
        let grounds = self.examples.grounds();
        Finding { cause: "short_connections", facts, grounds, ..blank }
    }
}
