//! The joins made: for each leg the one on the balancer's other side, of its present connection and of
//! the one before.

use ahash::RandomState;

use super::Leg;
use crate::finding::{Fact, Finding};
use crate::generations::Generations;

/// Joined legs remembered, in each of two generations.
const JOINED: usize = 1 << 15;

/// By what a leg was matched, surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// One port and one TSval.
    PortAndTsval = 0,
    /// One port and one sequence number.
    PortAndSequence = 1,
    /// One port, the SYN soon after the request, and a balancer that is known to keep ports.
    PortAndTiming = 2,
    /// The SYN soon after the end of the request's handshake, where no other comes into question.
    Timing = 3,
}

impl By {
    /// Every kind.
    pub const ALL: [Self; 4] =
        [Self::PortAndTsval, Self::PortAndSequence, Self::PortAndTiming, Self::Timing];

    /// The word for it in events.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::PortAndTsval => "port_and_tsval",
            Self::PortAndSequence => "port_and_sequence",
            Self::PortAndTiming => "port_and_timing",
            Self::Timing => "timing",
        }
    }

    /// Whether numbers of the segment itself were the evidence.
    #[must_use]
    pub fn is_strong(self) -> bool {
        self <= Self::PortAndSequence
    }
}

/// A leg, by what it was matched, and how surely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// The other leg.
    pub leg: Leg,
    /// The evidence.
    pub by: By,
    /// 0 to 100.
    pub percent: u8,
}

/// On which side of a leg the other one lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Toward {
    /// The other leg is the client's.
    Client,
    /// The other leg is the server's.
    Server,
}

/// What is known of one leg.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// When its present connection began.
    began_us: u64,
    /// What that is joined with.
    latest: Option<Match>,
    latest_us: u64,
    /// What the connection before was joined with.
    before: Option<Match>,
}

impl Entry {
    /// A newer connection began on the leg.
    fn begin(&mut self, began_us: u64) {
        if began_us > self.began_us {
            self.before = self.latest.take();
            self.began_us = began_us;
        }
    }
}

/// The joins made.
#[derive(Debug)]
pub struct Joined {
    legs: Generations<(Leg, Toward), Entry>,
}

impl Joined {
    /// Reserves everything it will ever need.
    pub fn new(state: RandomState) -> Self {
        Self { legs: Generations::new(JOINED, state) }
    }

    /// A connection begins on this leg, joined or not.
    pub fn begin(&mut self, leg: &Leg, began_us: u64) {
        for toward in [Toward::Client, Toward::Server] {
            if let Some(entry) = self.legs.touch(&(*leg, toward)) {
                entry.begin(began_us);
            }
        }
    }

    /// Joins the connection that began on a leg at a time; whether it was not joined before.
    pub fn join(
        &mut self,
        (leg, began_us): (Leg, u64),
        toward: Toward,
        found: Match,
        at_us: u64,
    ) -> bool {
        let key = (leg, toward);
        let Some(entry) = self.legs.touch(&key) else {
            let entry = Entry { began_us, latest: Some(found), latest_us: at_us, before: None };
            self.legs.insert(key, entry);
            return true;
        };
        entry.begin(began_us);
        if began_us < entry.began_us {
            // A late segment of the connection before.
            return false;
        }
        let is_better = entry.latest.is_none_or(|known| found.by <= known.by);
        let is_new = entry.latest.is_none();
        if is_better {
            entry.latest = Some(found);
            entry.latest_us = at_us;
        }
        is_new
    }

    /// What this leg is joined with, the client's side first, and since when.
    pub fn latest(&self, leg: &Leg) -> Option<(Match, u64)> {
        let of = |toward| {
            let entry = self.legs.get(&(*leg, toward))?;
            Some((entry.latest?, entry.latest_us))
        };
        of(Toward::Client).or_else(|| of(Toward::Server))
    }

    /// Names the other legs of the finding's new and previous connection, as far as joined.
    pub fn annotate(&self, finding: &mut Finding) {
        let leg = Leg::of(finding);
        let of = |toward| self.legs.get(&(leg, toward));
        let Some(entry) = of(Toward::Client).or_else(|| of(Toward::Server)) else { return };
        let (new, previous) = if entry.began_us >= finding.began_ns / 1000 {
            (entry.latest, entry.before)
        } else {
            (None, entry.latest)
        };
        set_leg(finding, new, &NEW);
        set_leg(finding, previous, &PREVIOUS);
    }

    /// Joins forgotten for newer ones.
    pub fn forgotten(&self) -> u64 {
        self.legs.forgotten()
    }
}

/// Labels of one leg's facts: client address and port, server address and port, how matched, how sure.
type Labels = [&'static str; 6];

const NEW: Labels = [
    "legs.new.src_ip",
    "legs.new.src_port",
    "legs.new.dest_ip",
    "legs.new.dest_port",
    "legs.new.matched_by",
    "legs.new.confidence_percent",
];

const PREVIOUS: Labels = [
    "legs.previous.src_ip",
    "legs.previous.src_port",
    "legs.previous.dest_ip",
    "legs.previous.dest_port",
    "legs.previous.matched_by",
    "legs.previous.confidence_percent",
];

fn set_leg(finding: &mut Finding, leg: Option<Match>, labels: &Labels) {
    let Some(Match { leg: Leg { client, server }, by, percent }) = leg else { return };
    let [src_ip, src_port, dest_ip, dest_port, matched_by, confidence] = *labels;
    finding.set(src_ip, Fact::Address(client.addr));
    finding.set(src_port, Fact::Number(i64::from(client.port)));
    finding.set(dest_ip, Fact::Address(server.addr));
    finding.set(dest_port, Fact::Number(i64::from(server.port)));
    finding.set(matched_by, Fact::Word(by.word()));
    finding.set(confidence, Fact::Number(i64::from(percent)));
    if !by.is_strong() {
        let sure = &mut finding.confidence;
        sure.percent = sure.percent.min(percent);
        if !sure.reasons.contains(&WEAK) {
            let _ = sure.reasons.try_push(WEAK);
        }
    }
}

/// Why a finding that names a leg is less sure.
const WEAK: &str = "leg_matched_by_timing";
