//! `fin_unacknowledged`: a FIN sent again and again that nobody acknowledges: FIN_WAIT1, CLOSING or
//! LAST_ACK at its sender, for as long as that is patient (`tcp_orphan_retries`).
//!
//! The mirror's copies don't count.

use alloc::vec::Vec;

use ahash::RandomState;

use super::{Detector, Limits, Seen, World};
use crate::finding::{Fact, Facts, Finding, Rule, State};
use crate::flow;
use crate::grounds::Sign;
use crate::repetition::{COPY_US, patience_us};
use crate::step::{Step, What};
use crate::subject::Subject;
use crate::timed::{Due, Timed};
use crate::tuple::{Side, Tuple};

/// Repeated FINs followed at a time.
const FINS: usize = 1 << 14;

/// A FIN that came again.
#[derive(Clone, Debug)]
struct Fin {
    subject: Subject,
    sender: Side,
    closer: &'static str,
    /// Whether its sender's peer was ever seen sending.
    peer_seen: bool,
    first_us: u64,
    last_us: u64,
    retransmissions: u32,
    due_us: u64,
    fired: bool,
}

impl Due for Fin {
    fn due_us(&self) -> u64 {
        self.due_us
    }
}

/// The rule.
#[derive(Debug)]
pub struct FinUnacknowledged {
    retransmissions: u32,
    fins: Timed<Tuple, Fin>,
    overflow: u64,
}

impl Detector for FinUnacknowledged {
    const RULE: Rule = Rule {
        name: "fin_unacknowledged",
        id: 8,
        summary: "a FIN is repeated and never acknowledged",
    };

    fn new(limits: &Limits, seeds: [u64; 4]) -> Self {
        let state = RandomState::with_seeds(seeds[0], seeds[1], seeds[2], seeds[3]);
        let fins = Timed::new(FINS, state);
        Self { retransmissions: limits.fin_retransmissions.max(1), fins, overflow: 0 }
    }

    fn step(&mut self, seen: &Seen<'_>, _world: &World<'_>, out: &mut Vec<Finding>) {
        let Seen { at_us, tuple, step } = *seen;
        let outcome = match (step.what, step.flow.state) {
            (What::FinRepeated, _) => return self.repeated(seen, out),
            (What::Opened { .. }, _) => "given_up",
            (What::Moved, flow::State::Reset) => "reset",
            (What::Moved, _) => "acknowledged",
            _ => return,
        };
        if let Some(fin) = self.fins.remove(tuple)
            && fin.fired
        {
            out.push(fin.finding(State::Resolved, outcome, at_us));
        }
    }

    #[inline]
    fn next_us(&self) -> u64 {
        self.fins.next_due_us()
    }

    fn pass_time(&mut self, now_us: u64, _world: &World<'_>, out: &mut Vec<Finding>) {
        while let Some((_, fin)) = self.fins.pop_due(now_us) {
            if fin.fired {
                out.push(fin.finding(State::Resolved, "given_up", fin.due_us));
            }
        }
    }

    fn finish(&mut self, end_us: u64, world: &World<'_>, out: &mut Vec<Finding>) {
        self.pass_time(end_us, world, out);
        for (_, fin) in self.fins.drain() {
            if fin.fired {
                out.push(fin.finding(State::Resolved, "end_of_input", end_us));
            }
        }
    }

    fn overflow(&self) -> u64 {
        self.overflow
    }
}

impl FinUnacknowledged {
    fn repeated(&mut self, seen: &Seen<'_>, out: &mut Vec<Finding>) {
        let Seen { at_us, tuple, step } = *seen;
        if !is_unacknowledged(step) {
            return;
        }
        // While its FIN is unacknowledged, the state began with that FIN.
        let first_us = step.flow.changed_us;
        let enough = self.retransmissions;
        if let Some(fin) = self.fins.get_mut(tuple)
            && fin.sender == step.sender
        {
            if fin.again(at_us) && fin.retransmissions >= enough && !fin.fired {
                fin.fired = true;
                out.push(fin.finding(State::Firing, "pending", at_us));
            }
            return;
        }
        let mut fin = Fin {
            subject: Subject::connection(seen),
            sender: step.sender,
            closer: if step.is_from_client() { "client" } else { "server" },
            peer_seen: step.flow.marks.seen(step.sender.peer()),
            first_us,
            last_us: first_us,
            retransmissions: 0,
            due_us: 0,
            fired: false,
        };
        if fin.again(at_us) {
            self.overflow += u64::from(!self.fins.insert(*tuple, fin));
        }
    }
}

/// Whether the repeated FIN still waits for its acknowledgment.
fn is_unacknowledged(step: &Step) -> bool {
    let from_closer = step.sender == step.flow.marks.closer();
    match step.flow.state {
        flow::State::FinWait1 => from_closer,
        flow::State::LastAck => !from_closer,
        flow::State::Closing => true,
        _ => false,
    }
}

impl Fin {
    /// Takes the FIN again; whether it was a retransmission.
    fn again(&mut self, at_us: u64) -> bool {
        let gap_us = at_us.saturating_sub(self.last_us);
        if gap_us < COPY_US {
            return false;
        }
        self.last_us = at_us;
        self.retransmissions += 1;
        self.due_us = at_us + patience_us(gap_us);
        true
    }

    fn finding(&self, state: State, outcome: &'static str, at_us: u64) -> Finding {
        let facts = Facts::from_iter([
            ("closer", Fact::Word(self.closer)),
            ("retransmissions", Fact::count(self.retransmissions)),
            ("age_ms", Fact::ms(at_us.saturating_sub(self.first_us))),
            ("outcome", Fact::Word(outcome)),
        ]);
        let blank = self.subject.finding(&FinUnacknowledged::RULE, state, at_us);
        let grounds = self.subject.grounds(self.last_us, Sign::FinAgain, None);
        let mut finding = Finding { cause: "unanswered", facts, grounds, ..blank };
        if !self.peer_seen {
            finding.confidence.lower(30, "one_direction_only");
        }
        finding
    }
}
