//! The two legs of a balancer that rewrites addresses but keeps the client's port and timestamps:
//! segments with one port and one TSval (without timestamps: one sequence number), milliseconds apart
//! on two tuples, are one segment.

use alloc::vec;
use alloc::vec::Vec;

use ahash::RandomState;
use hashbrown::HashMap;
use xdpwatch_prog::record::flags;

use crate::finding::{Endpoint, Fact, Finding};
use crate::step::Step;
use crate::tuple::Tuple;

/// A balancer passes a segment on within this time.
const FORWARDED_US: u64 = 10_000;

/// Segments remembered while their twin may still come.
const RECENT: usize = 1 << 14;

/// Joined tuples remembered, in each of two generations.
const JOINED: usize = 1 << 15;

/// One end's SYN or FIN with a number to know it by: what a twin on the other leg repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sighting {
    /// The connection it is on.
    leg: Leg,
    /// Whether the client sent it.
    from_client: bool,
    /// What the twin repeats.
    token: Token,
}

/// A number of a segment that a balancer of this kind leaves as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Token {
    /// The TSval.
    Timestamp(u32),
    /// The sequence number, where there are no timestamps.
    Sequence(u32),
}

/// A connection by its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

impl Sighting {
    /// What this step shows, if a SYN or a FIN made it.
    fn of(step: &Step, tuple: &Tuple) -> Option<Self> {
        let token = step.ts_val.map_or(Token::Sequence(step.seq), Token::Timestamp);
        let from_client = match step.flags & (flags::SYN | flags::FIN | flags::RST) {
            // The connection on the tuple may be an older one, whose client was the other end.
            flags::SYN => step.is_pure_syn(),
            flags::FIN => step.is_from_client(),
            _ => return None,
        };
        let client = if from_client { step.sender } else { step.sender.peer() };
        let leg = Leg { client: tuple.end(client), server: tuple.end(client.peer()) };
        Some(Self { leg, from_client, token })
    }
}

#[derive(Clone, Copy, Debug)]
struct Recent {
    sighting: Sighting,
    at_us: u64,
}

/// The legs that a tuple was joined with, the latest and the one before it.
#[derive(Clone, Copy, Debug)]
struct Joined {
    latest: Match,
    latest_us: u64,
    before: Option<Match>,
}

/// A leg, and by what it was matched.
#[derive(Clone, Copy, Debug)]
struct Match {
    leg: Leg,
    by: &'static str,
}

impl Token {
    fn word(self) -> &'static str {
        match self {
            Self::Timestamp(_) => "port_and_tsval",
            Self::Sequence(_) => "port_and_sequence",
        }
    }
}

/// Joins legs from steps in order of time. All memory is bounded.
#[derive(Debug)]
pub struct Legs {
    /// The latest sighting in each place, and a part of its key's hash: small enough to stay near,
    /// since hardly any sighting finds its twin.
    recent: Vec<Option<Recent>>,
    recent_tags: Vec<u32>,
    joined: HashMap<Leg, Joined, RandomState>,
    older: HashMap<Leg, Joined, RandomState>,
    state: RandomState,
}

impl Legs {
    /// Reserves everything it will ever need.
    #[must_use]
    pub fn new(seeds: [u64; 4]) -> Self {
        let state = RandomState::with_seeds(seeds[0], seeds[1], seeds[2], seeds[3]);
        let map = || HashMap::with_capacity_and_hasher(JOINED, state.clone());
        Self {
            recent: vec![None; RECENT],
            recent_tags: vec![0; RECENT],
            joined: map(),
            older: map(),
            state,
        }
    }

    /// Takes a step, and joins its leg with that of its twin on the other side, if that has come.
    pub fn see(&mut self, step: &Step, tuple: &Tuple, at_us: u64) {
        let Some(sighting) = Sighting::of(step, tuple) else { return };
        let key = (sighting.leg.client.port, sighting.token, sighting.from_client);
        let hash = self.state.hash_one(key);
        let (slot, tag) = (hash as usize % RECENT, (hash >> 32) as u32);
        if self.recent_tags[slot] == tag
            && let Some(recent) = self.recent[slot]
        {
            let twin = recent.sighting;
            let twin_key = (twin.leg.client.port, twin.token, twin.from_client);
            let soon = at_us.saturating_sub(recent.at_us) <= FORWARDED_US;
            if twin_key == key && twin.leg != sighting.leg && soon {
                self.join(sighting.leg, twin.leg, sighting.token, at_us);
                self.join(twin.leg, sighting.leg, sighting.token, at_us);
            }
        }
        self.recent[slot] = Some(Recent { sighting, at_us });
        self.recent_tags[slot] = tag;
    }

    fn join(&mut self, leg: Leg, other: Leg, token: Token, at_us: u64) {
        let other = Match { leg: other, by: token.word() };
        let known = self.joined.get(&leg).or_else(|| self.older.get(&leg)).copied();
        let before = match known {
            Some(known) if known.latest.leg == other.leg => known.before,
            Some(known) => Some(known.latest),
            None => None,
        };
        if self.joined.len() >= JOINED && !self.joined.contains_key(&leg) {
            core::mem::swap(&mut self.joined, &mut self.older);
            self.joined.clear();
        }
        self.joined.insert(leg, Joined { latest: other, latest_us: at_us, before });
    }

    /// The leg that this one was joined with last, if that was since `since_us`.
    #[must_use]
    pub fn joined_since(&self, leg: &Leg, since_us: u64) -> Option<Leg> {
        let joined = self.joined.get(leg).or_else(|| self.older.get(leg))?;
        (joined.latest_us + FORWARDED_US >= since_us).then_some(joined.latest.leg)
    }

    /// Names the other legs of the finding's new and previous connection, as far as joined.
    pub fn annotate(&self, finding: &mut Finding) {
        let leg = Leg::of(finding);
        let Some(joined) = self.joined.get(&leg).or_else(|| self.older.get(&leg)) else { return };
        let since_new = joined.latest_us + FORWARDED_US >= finding.began_ns / 1000;
        let (new, previous) = if since_new {
            (Some(joined.latest), joined.before)
        } else {
            (None, Some(joined.latest))
        };
        set_leg(finding, new, &NEW);
        set_leg(finding, previous, &PREVIOUS);
    }
}

/// Labels of one leg's facts: client address and port, server address and port, how matched.
type Labels = [&'static str; 5];

const NEW: Labels = [
    "legs.new.src_ip",
    "legs.new.src_port",
    "legs.new.dest_ip",
    "legs.new.dest_port",
    "legs.new.matched_by",
];

const PREVIOUS: Labels = [
    "legs.previous.src_ip",
    "legs.previous.src_port",
    "legs.previous.dest_ip",
    "legs.previous.dest_port",
    "legs.previous.matched_by",
];

fn set_leg(finding: &mut Finding, leg: Option<Match>, labels: &Labels) {
    let Some(Match { leg: Leg { client, server }, by }) = leg else { return };
    let [src_ip, src_port, dest_ip, dest_port, matched_by] = *labels;
    finding.set(src_ip, Fact::Address(client.addr));
    finding.set(src_port, Fact::Number(i64::from(client.port)));
    finding.set(dest_ip, Fact::Address(server.addr));
    finding.set(dest_port, Fact::Number(i64::from(server.port)));
    finding.set(matched_by, Fact::Word(by));
}
