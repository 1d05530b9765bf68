//! The two legs of a balancer: which connection to a server carries which client's request.
//!
//! A SYN, SYN/ACK or FIN that a balancer passes on is known again by its numbers (`tokens`). Where the
//! balancer makes connections of its own, a SYN that it sends belongs to the request that caused it,
//! as far as port and time tell (`arrivals`, `pairs`, `timing`). A join that is not sure to 99 % is not made.

mod arrivals;
mod given;
mod joined;
mod pairs;
mod roles;
mod timing;
mod tokens;
mod twins;

use ahash::RandomState;
use arrayvec::ArrayVec;
use xdpwatch_prog::record::flags;

use crate::finding::{Endpoint, Finding};
use crate::flow::State;
use crate::generations::Generations;
use crate::step::{Step, What};
use crate::tuple::Tuple;

use arrivals::Arrivals;
pub use given::Given;
use joined::Joined;
pub use joined::{By, Match, Toward};
use pairs::{Pairs, percent_if_sure};
use roles::Roles;
pub use roles::{Balancer, Member};
use timing::Timing;
use tokens::{Sighting, Tokens};
use twins::Twins;

/// A balancer passes a segment on, or opens the connection that a request needs, within this time.
const FORWARDED_US: u64 = 10_000;

/// SYNs on held tuples remembered, in each of two generations.
const HELD: usize = 1 << 12;

/// A connection by its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Leg {
    /// The end that sent, or by its port must have sent, the SYN.
    pub client: Endpoint,
    /// The other end.
    pub server: Endpoint,
}

impl Leg {
    /// The connection that a finding is about.
    #[must_use]
    pub fn of(finding: &Finding) -> Self {
        Self { client: finding.src, server: finding.dst }
    }
}

/// What was joined, and what was left alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Joins by each kind of evidence, in the order of [`By::ALL`]; one for each connection.
    pub joined: [u64; By::ALL.len()],
    /// SYNs with more than one candidate, or one that is not sure enough.
    pub ambiguous: u64,
    /// Joins that were forgotten for newer ones.
    pub forgotten: u64,
    /// Addresses that open connections, and their pairs with servers, forgotten for newer ones.
    pub pairs_forgotten: u64,
    /// Balancers, their addresses and servers that had no place, by connection.
    pub roles_not_kept: u64,
}

impl Counts {
    /// Name and value of each, in the order printed.
    pub fn each(&self, mut f: impl FnMut(&'static str, u64)) {
        By::ALL.iter().zip(self.joined).for_each(|(by, count)| f(by.word(), count));
        f("ambiguous", self.ambiguous);
        f("forgotten", self.forgotten);
        f("pairs_forgotten", self.pairs_forgotten);
        f("roles_not_kept", self.roles_not_kept);
    }
}

/// Joins legs from steps in order of time. All memory is bounded.
#[derive(Debug)]
pub struct Legs {
    tokens: Tokens,
    twins: Twins,
    arrivals: Arrivals,
    pairs: Pairs,
    timing: Timing,
    joined: Joined,
    roles: Roles,
    given: Given,
    /// The SYN that contests a held tuple, by its number, and when it first came.
    held: Generations<Leg, (u32, u64)>,
    counts: Counts,
}

/// A client's first SYN, or its repetition.
#[derive(Clone, Copy, Debug)]
struct Syn {
    leg: Leg,
    /// When it came first.
    began_us: u64,
    is_first: bool,
}

impl Legs {
    /// Reserves everything it will ever need.
    #[must_use]
    pub fn new(given: Given, seeds: [u64; 4]) -> Self {
        let state = RandomState::with_seeds(seeds[0], seeds[1], seeds[2], seeds[3]);
        Self {
            tokens: Tokens::new(state.clone()),
            twins: Twins::new(state.clone()),
            arrivals: Arrivals::new(),
            pairs: Pairs::new(state.clone()),
            timing: Timing::new(state.clone()),
            joined: Joined::new(state.clone()),
            roles: Roles::new(&given),
            given,
            held: Generations::new(HELD, state),
            counts: Counts::default(),
        }
    }

    /// Other balancers are configured from now on. What was joined stays.
    pub fn configure(&mut self, given: Given) {
        self.roles.configure(&given);
        self.given = given;
    }

    /// Takes a step, and joins its leg with one on the balancer's other side, if that is known.
    pub fn see(&mut self, step: &Step, tuple: &Tuple, at_us: u64) {
        if step.is_pure_syn() {
            return self.see_syn(step, tuple, at_us);
        }
        if step.flags & (flags::SYN | flags::FIN | flags::RST) != 0 {
            if step.flags & flags::RST == 0 {
                let sighting = Sighting::of(step, tuple, step.is_from_client(), step.flow.first_us);
                self.see_token(step, sighting, at_us);
            }
            return;
        }
        let completes = step.what == What::Moved
            && step.before == Some(State::SynReceived)
            && step.flow.state == State::Established
            && step.is_from_client();
        if completes {
            let (client, server) = step.ends(tuple);
            let leg = Leg { client, server };
            self.arrivals.note(leg, at_us, step.flow.first_us, true);
        }
    }

    fn see_syn(&mut self, step: &Step, tuple: &Tuple, at_us: u64) {
        let syn = self.syn(step, tuple, at_us);
        if syn.is_first {
            self.joined.begin(&syn.leg, syn.began_us);
        }
        let sighting = Sighting::of(step, tuple, true, syn.began_us);
        let is_joined = self.see_token(step, sighting, at_us);
        if !syn.is_first {
            return;
        }
        if !is_joined {
            self.seek(&syn, at_us);
        }
        self.arrivals.note(syn.leg, at_us, syn.began_us, false);
    }

    /// The connection on the tuple may be an older one, whose client was the other end.
    fn syn(&mut self, step: &Step, tuple: &Tuple, at_us: u64) -> Syn {
        let leg = Leg { client: tuple.end(step.sender), server: tuple.end(step.sender.peer()) };
        match step.what {
            What::SynOnHeld => {
                let known = self.held.get(&leg).filter(|(seq, _)| *seq == step.seq).copied();
                let (_, began_us) = known.unwrap_or((step.seq, at_us));
                if known.is_none() {
                    self.held.insert(leg, (step.seq, at_us));
                }
                Syn { leg, began_us, is_first: known.is_none() }
            }
            What::Opened { .. } => Syn { leg, began_us: at_us, is_first: true },
            _ => Syn { leg, began_us: step.flow.first_us, is_first: false },
        }
    }

    /// Joins the segment with its twin; whether there was one.
    fn see_token(&mut self, step: &Step, sighting: Sighting, at_us: u64) -> bool {
        let Some((twin, by)) = self.tokens.see(step, sighting, at_us) else { return false };
        // What the client sent came first on its own leg, what the server sent, on the server's.
        let (front, back) = if sighting.from_client { (twin, sighting) } else { (sighting, twin) };
        if !self.twins.believes(&front.leg, &back.leg, sighting.from_client) {
            return false;
        }
        let front = (front.leg, front.began_us);
        let back = (back.leg, back.began_us);
        self.join(front, back, by, 100, at_us);
        self.arrivals.take(&front.0, at_us);
        true
    }

    /// Looks for the request that made a balancer open this connection: by its port, else by time.
    fn seek(&mut self, syn: &Syn, at_us: u64) {
        let given = &self.given;
        let found = self.arrivals.with_port(&syn.leg, given, at_us);
        let recent = self.arrivals.within(FORWARDED_US, at_us);
        let sure =
            self.pairs.by_port(&syn.leg, found.is_one(), recent, given.is_known_back(&syn.leg));
        let address = syn.leg.client.addr;
        let candidates = if self.timing.follows(&address) {
            self.arrivals.completed(&syn.leg, given, at_us)
        } else {
            ArrayVec::new()
        };
        let likeliest = self.timing.weigh(&address, &candidates);
        let back = (syn.leg, at_us);
        if let (arrivals::Found::One { leg, began_us }, Some(percent)) = (found, sure) {
            self.join((leg, began_us), back, By::PortAndTiming, percent, at_us);
            self.arrivals.take(&leg, at_us);
        } else if let Some((cause, likely)) = likeliest {
            if let Some(percent) = percent_if_sure(likely, timing::SURE) {
                self.join((cause.leg, cause.began_us), back, By::Timing, percent, at_us);
                self.arrivals.take(&cause.leg, at_us);
            } else {
                self.counts.ambiguous += 1;
            }
        } else {
            self.counts.ambiguous += u64::from(found != arrivals::Found::Nothing);
        }
    }

    fn join(&mut self, front: (Leg, u64), back: (Leg, u64), by: By, percent: u8, at_us: u64) {
        let found = |leg| Match { leg, by, percent };
        let is_new = self.joined.join(back, Toward::Client, found(front.0), at_us);
        self.joined.join(front, Toward::Server, found(back.0), at_us);
        if is_new {
            self.counts.joined[by as usize] += 1;
            self.roles.learn(&front.0, &back.0, by.is_strong(), &self.given);
        }
    }

    /// The leg on the balancer's other side: towards the client if there is one, else towards the
    /// server. `None` if this connection was not joined.
    #[must_use]
    pub fn other_of(&self, leg: &Leg) -> Option<Match> {
        self.joined.latest(leg).map(|(found, _)| found)
    }

    /// The leg that this one was joined with last, if that was since `since_us`.
    #[must_use]
    pub fn joined_since(&self, leg: &Leg, since_us: u64) -> Option<Leg> {
        let (found, at_us) = self.joined.latest(leg)?;
        (at_us + FORWARDED_US >= since_us).then_some(found.leg)
    }

    /// Names the other legs of the finding's new and previous connection, as far as joined.
    pub fn annotate(&self, finding: &mut Finding) {
        self.joined.annotate(finding);
    }

    /// The balancers that the joins show.
    #[must_use]
    pub fn balancers(&self) -> &[Balancer] {
        self.roles.balancers()
    }

    /// Counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            roles_not_kept: self.roles.not_kept(),
            forgotten: self.joined.forgotten(),
            pairs_forgotten: self.pairs.forgotten() + self.timing.forgotten(),
            ..self.counts
        }
    }
}
