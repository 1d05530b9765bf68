//! What a group keeps of its findings: how many, how bad, why, the worst few, and whom they hurt.

use arrayvec::ArrayVec;

use crate::finding::{Endpoint, Fact, Finding, NO_END, State};

/// Worst examples kept.
pub const WORST: usize = 5;

/// Clients named.
pub const CLIENTS: usize = 5;

/// Clients counted, so that the named ones are the right ones.
const CLIENTS_COUNTED: usize = 32;

/// Causes told apart; a rule has fewer.
const CAUSES: usize = 16;

/// One finding of a group, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example {
    /// The finding's `alert.id`.
    pub id: u64,
    /// Time of the first packet of what it is about, nanoseconds since the Unix epoch.
    pub began_ns: u64,
    /// The side that sent the SYN; no end where the finding is not about it.
    pub src: Endpoint,
    /// The side that the SYN was sent to; no end where the finding is not about it.
    pub dst: Endpoint,
    /// Its cause.
    pub cause: &'static str,
    /// 1 worst to 3.
    pub severity: u8,
    /// Whether it still fires.
    pub state: State,
    /// How long the client was stalled, milliseconds.
    pub stall_ms: i64,
}

impl Example {
    fn of(finding: &Finding) -> Self {
        let stall_ms = match finding.fact("stall_ms").or_else(|| finding.fact("age_ms")) {
            Some(Fact::Number(ms)) => ms,
            _ => 0,
        };
        Self {
            id: finding.id,
            began_ns: finding.began_ns,
            src: finding.src,
            dst: finding.dst,
            cause: finding.cause,
            severity: finding.severity,
            state: finding.state,
            stall_ms,
        }
    }

    /// Sorts the worst first: by severity, then stall; equal ones by time, then id.
    fn rank(&self) -> (u8, core::cmp::Reverse<i64>, u64, u64) {
        (self.severity, core::cmp::Reverse(self.stall_ms), self.began_ns, self.id)
    }
}

/// How often something was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted<T> {
    what: T,
    count: u64,
}

/// The sums over a group's findings.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Findings.
    pub count: u64,
    /// Those that still fire.
    pub open: u64,
    /// The worst severity so far.
    pub severity: u8,
    /// The worst few, worst first.
    pub worst: ArrayVec<Example, WORST>,
    /// The worst finding, whole.
    pub example: Finding,
    causes: ArrayVec<Counted<&'static str>, CAUSES>,
    clients: ArrayVec<Counted<[u8; 16]>, CLIENTS_COUNTED>,
}

impl Tally {
    /// Nothing counted yet; the finding is only the first example.
    pub(super) fn new(finding: &Finding) -> Self {
        Self {
            count: 0,
            open: 0,
            severity: u8::MAX,
            worst: ArrayVec::new(),
            example: finding.clone(),
            causes: ArrayVec::new(),
            clients: ArrayVec::new(),
        }
    }

    /// Takes a finding for the first time.
    pub(super) fn add(&mut self, finding: &Finding) {
        self.count += 1;
        self.count_cause(finding.cause);
        if let Some(client) = client(finding) {
            self.count_client(client);
        }
        self.see(finding);
    }

    /// A finding counted before has changed; `cause` is the one it was counted with.
    pub(super) fn change(&mut self, finding: &Finding, cause: &'static str) {
        if finding.cause != cause {
            if let Some(counted) = self.causes.iter_mut().find(|counted| counted.what == cause) {
                counted.count -= 1;
            }
            self.count_cause(finding.cause);
        }
        self.see(finding);
    }

    /// The most frequent cause and how often it was it; of equal ones the first seen.
    #[must_use]
    pub fn cause(&self) -> (&'static str, u64) {
        let first = self.causes.iter().rev().max_by_key(|counted| counted.count);
        first.map_or((self.example.cause, 0), |counted| (counted.what, counted.count))
    }

    /// The clients hurt most often and how often, most first. Where a group has very many, the
    /// counts are upper bounds (the space-saving algorithm of Metwally, Agrawal and El Abbadi).
    #[must_use]
    pub fn clients(&self) -> ArrayVec<([u8; 16], u64), CLIENTS> {
        let mut counted = self.clients.clone();
        counted.sort_by_key(|client| (core::cmp::Reverse(client.count), client.what));
        counted.iter().take(CLIENTS).map(|client| (client.what, client.count)).collect()
    }

    fn see(&mut self, finding: &Finding) {
        self.severity = self.severity.min(finding.severity);
        let example = Example::of(finding);
        self.worst.retain(|known| known.id != example.id);
        let place = self.worst.partition_point(|known| known.rank() < example.rank());
        if place < WORST {
            if self.worst.is_full() {
                self.worst.pop();
            }
            self.worst.insert(place, example);
        }
        if place == 0 {
            self.example.clone_from(finding);
        }
    }

    fn count_cause(&mut self, cause: &'static str) {
        match self.causes.iter_mut().find(|counted| counted.what == cause) {
            Some(counted) => counted.count += 1,
            None => {
                let _ = self.causes.try_push(Counted { what: cause, count: 1 });
            }
        }
    }

    fn count_client(&mut self, client: [u8; 16]) {
        if let Some(counted) = self.clients.iter_mut().find(|counted| counted.what == client) {
            counted.count += 1;
        } else if !self.clients.is_full() {
            self.clients.push(Counted { what: client, count: 1 });
        } else if let Some(least) = self.clients.iter_mut().min_by_key(|counted| counted.count) {
            *least = Counted { what: client, count: least.count + 1 };
        }
    }
}

/// The client that was hurt: on the balancer's other leg where that was seen.
fn client(finding: &Finding) -> Option<[u8; 16]> {
    match finding.fact("legs.new.src_ip") {
        Some(Fact::Address(addr)) => Some(addr),
        _ => (finding.src != NO_END).then_some(finding.src.addr),
    }
}
