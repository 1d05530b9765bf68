//! `listener_gap`: a listener that lives answers SYNs with RST, or resets connections that it has just
//! accepted, before it sent a byte: a reload or a restart.
//!
//! A port that never takes a connection is no listener, so a port scan says nothing. One that refuses one
//! client and takes others chooses, as a firewall's reject does: a client that was not the last to be taken
//! is waited with, until another is refused too or it is taken after all. A RST by an end
//! that holds the earlier connection on the tuple is `tuple_reuse`'s: its step leaves that
//! connection's state, not that of a fresh SYN.

use alloc::vec::Vec;

use ahash::RandomState;

use super::{Detector, Limits, Seen, World};
use crate::finding::{Fact, Facts, Finding, Rule, State};
use crate::flow::{self, SECOND_US};
use crate::grounds::{Example, Examples, Sign};
use crate::services::{Service, Taken, accepts};
use crate::step::What;
use crate::subject::Subject;
use crate::timed::{Due, Timed};
use crate::tuple::Tuple;

/// Gaps that stand at a time.
const GAPS: usize = 1 << 10;

/// Ports whose refusals may still be no gap's; apart, so that a scan pushes no gap out.
const PORTS: usize = 1 << 14;

/// A RST this late after the SYN/ACK is the application's, not the listener's.
const ACCEPTED_US: u64 = SECOND_US;

/// An alert whose port neither takes nor refuses connections any more ends after this.
const SILENT_US: u64 = 300 * SECOND_US;

/// Refusals of one listener.
#[derive(Clone, Debug)]
struct Gap {
    subject: Subject,
    syns: u32,
    handshakes: u32,
    last_us: u64,
    /// When it first took a connection after the last refusal.
    alive_us: Option<u64>,
    due_us: u64,
    /// The address refused first.
    client: [u8; 16],
    /// While it may be no gap: what the service did for others.
    others: Others,
    examples: Examples,
}

/// What a service did for other clients than the one refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    /// None was ever seen to be taken.
    Unknown,
    /// They were taken before.
    TakenBefore,
    /// They are taken between the refusals.
    TakenBetween,
}

impl Due for Gap {
    fn due_us(&self) -> u64 {
        self.due_us
    }
}

/// What was refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refused {
    Syn,
    Handshake,
}

/// The rule.
#[derive(Debug)]
pub struct ListenerGap {
    gap_us: u64,
    alive_us: u64,
    quiet_us: u64,
    gaps: Timed<Service, Gap>,
    ports: Timed<Service, Gap>,
    overflow: u64,
}

impl Detector for ListenerGap {
    const RULE: Rule = Rule {
        name: "listener_gap",
        id: 3,
        summary: "a listener that lives refuses connections with RST for a short time",
    };

    fn new(limits: &Limits, seeds: [u64; 4]) -> Self {
        let state = RandomState::with_seeds(seeds[0], seeds[1], seeds[2], seeds[3]);
        Self {
            gap_us: limits.listener_gap_us,
            alive_us: limits.listener_alive_us,
            quiet_us: limits.listener_quiet_us,
            gaps: Timed::new(GAPS, state.clone()),
            ports: Timed::new(PORTS, state),
            overflow: 0,
        }
    }

    fn step(&mut self, seen: &Seen<'_>, world: &World<'_>, out: &mut Vec<Finding>) {
        let service = Service::of(seen.step, seen.tuple);
        if accepts(seen.step) {
            self.accepted(service, seen, out);
        } else if let Some(refused) = refused(seen, world) {
            self.refused(service, refused, seen, world, out);
        }
    }

    #[inline]
    fn next_us(&self) -> u64 {
        self.gaps.next_due_us().min(self.ports.next_due_us())
    }

    fn pass_time(&mut self, now_us: u64, _world: &World<'_>, out: &mut Vec<Finding>) {
        while let Some((_, gap)) = self.gaps.pop_due(now_us) {
            let outcome = if gap.alive_us.is_some() { "alive_again" } else { "silent" };
            out.push(gap.finding(State::Resolved, outcome, gap.due_us));
        }
        while self.ports.pop_due(now_us).is_some() {}
    }

    fn finish(&mut self, end_us: u64, world: &World<'_>, out: &mut Vec<Finding>) {
        self.pass_time(end_us, world, out);
        let rest = self.gaps.drain();
        out.extend(
            rest.iter().map(|(_, gap)| gap.finding(State::Resolved, "end_of_input", end_us)),
        );
    }

    fn overflow(&self) -> u64 {
        self.overflow
    }
}

impl ListenerGap {
    /// The service took a connection.
    fn accepted(&mut self, service: Service, seen: &Seen<'_>, out: &mut Vec<Finding>) {
        let at_us = seen.at_us;
        if let Some(gap) = self.gaps.get_mut(&service) {
            if gap.alive_us.is_none() {
                gap.alive_us = Some(at_us);
                gap.due_us = at_us + self.quiet_us;
                gap.examples.add(Example::of(seen, Sign::Accepted));
                self.gaps.hurry(&service);
            }
            return;
        }
        let client = seen.tuple.end(seen.step.client).addr;
        match self.ports.get_mut(&service) {
            None => return,
            Some(port) if port.others != Others::Unknown && port.client != client => {
                port.others = Others::TakenBetween;
                return;
            }
            Some(_) => {}
        }
        // Refused for longer than a gap lasts before: it was not there yet.
        let Some(mut gap) = self.ports.remove(&service) else { return };
        if at_us.saturating_sub(gap.subject.began_us) <= self.gap_us {
            gap.alive_us = Some(at_us);
            gap.due_us = at_us + self.quiet_us;
            gap.examples.add(Example::of(seen, Sign::Accepted));
            self.stand(service, gap, at_us, out);
        }
    }

    fn refused(
        &mut self,
        service: Service,
        refused: Refused,
        seen: &Seen<'_>,
        world: &World<'_>,
        out: &mut Vec<Finding>,
    ) {
        let at_us = seen.at_us;
        if let Some(gap) = self.gaps.get_mut(&service) {
            return gap.add(refused, seen, at_us + SILENT_US);
        }
        let taken = world.services.last(&service);
        let taken = taken.filter(|taken| at_us.saturating_sub(taken.at_us) <= self.alive_us);
        let client = seen.tuple.end(seen.step.client).addr;
        let pending = self.ports.get_mut(&service);
        // What it refused before while it took others says nothing of a gap now.
        let pending = pending.filter(|port| port.client == client || !port.chooses());
        let was_taken = taken.is_some_and(|taken| taken.client.addr == client);
        if let Some(port) = pending {
            port.add(refused, seen, at_us + self.gap_us);
            let is_gap = was_taken || (port.others == Others::TakenBefore && port.client != client);
            if is_gap && let Some(gap) = self.ports.remove(&service) {
                self.stand(service, Gap { due_us: at_us + SILENT_US, ..gap }, at_us, out);
            }
            return;
        }
        let mut gap = Gap {
            subject: Subject::service(seen, at_us),
            syns: 0,
            handshakes: 0,
            last_us: at_us,
            alive_us: None,
            due_us: 0,
            client,
            others: if taken.is_some() { Others::TakenBefore } else { Others::Unknown },
            examples: Examples::default(),
        };
        if let Some(Taken { client, at_us: taken_us }) = taken {
            let tuple = Tuple::between(client, service.end, service.realm).0;
            gap.examples.add(Example { tuple, at_us: taken_us, sign: Sign::Accepted });
        }
        if was_taken {
            gap.add(refused, seen, at_us + SILENT_US);
            self.stand(service, gap, at_us, out);
        } else {
            gap.add(refused, seen, at_us + self.gap_us);
            self.ports.remove(&service);
            self.overflow += u64::from(!self.ports.insert(service, gap));
        }
    }

    /// The alert; only of a gap that can be followed to its end.
    fn stand(&mut self, service: Service, gap: Gap, at_us: u64, out: &mut Vec<Finding>) {
        let firing = gap.finding(State::Firing, "pending", at_us);
        if self.gaps.insert(service, gap) {
            out.push(firing);
        } else {
            self.overflow += 1;
        }
    }
}

/// What this step shows to be refused by the server, if anything.
fn refused(seen: &Seen<'_>, world: &World<'_>) -> Option<Refused> {
    let Seen { at_us, tuple, step } = *seen;
    let reset = step.what == What::Moved && step.flow.state == flow::State::Reset;
    if !reset || step.is_from_client() {
        return None;
    }
    match step.before? {
        flow::State::SynSent => Some(Refused::Syn),
        flow::State::SynReceived | flow::State::Established => {
            let beginning = world.services.beginning(tuple, step.flow.first_us)?;
            let silent = step.seq == beginning.next
                && step.flow.end(step.sender).next == beginning.next
                && at_us.saturating_sub(beginning.at_us) <= ACCEPTED_US;
            silent.then_some(Refused::Handshake)
        }
        _ => None,
    }
}

impl Gap {
    /// Whether the service is seen to take others while it refuses this client.
    fn chooses(&self) -> bool {
        self.others == Others::TakenBetween
    }

    fn add(&mut self, refused: Refused, seen: &Seen<'_>, due_us: u64) {
        let sign = match refused {
            Refused::Syn => {
                self.syns += 1;
                Sign::SynRefused
            }
            Refused::Handshake => {
                self.handshakes += 1;
                Sign::HandshakeReset
            }
        };
        self.examples.add(Example::of(seen, sign));
        self.last_us = seen.at_us;
        self.alive_us = None;
        self.due_us = due_us;
    }

    fn finding(&self, state: State, outcome: &'static str, at_us: u64) -> Finding {
        let began_us = self.subject.began_us;
        let kind = match (self.syns, self.handshakes) {
            (_, 0) => "syn",
            (0, _) => "handshake",
            _ => "both",
        };
        let [ip, port] = self.subject.service_facts();
        let facts = Facts::from_iter([
            ip,
            port,
            ("kind", Fact::Word(kind)),
            ("refused", Fact::count(self.syns.saturating_add(self.handshakes))),
            ("window_ms", Fact::ms(self.last_us.saturating_sub(began_us))),
            ("first", Fact::at(began_us)),
            ("last", Fact::at(self.last_us)),
            ("outcome", Fact::Word(outcome)),
        ]);
        let blank = self.subject.finding(&ListenerGap::RULE, state, at_us);
        let grounds = self.examples.grounds();
        Finding { cause: "not_listening", severity: 2, facts, grounds, ..blank }
    }
}
