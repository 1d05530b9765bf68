//! What hosts were seen to be, whatever is configured: how long they hold, whose TCP theirs is, how often
//! they did otherwise than foretold. Said on findings about them.
//!
//! It lies behind all workers, each of which sees but a share of a host's tuples.

use ahash::RandomState;
use hashbrown::HashMap;

use crate::finding::{Fact, Finding};
use crate::host::{Model, Refusal};
use crate::lines::Line;

/// Hosts remembered at most.
const HOSTS: usize = 1 << 14;

/// After as many contradictions a host's verdicts are less sure.
const OFTEN: u32 = 3;

/// As many numbers on a clock's line prove the clock: by chance one of 4000 lies there.
const ON_LINE: u32 = 2;

/// As many refusals left without an answer, and none answered, are no loss.
const SILENT: u32 = 3;

/// What a host's initial sequence numbers say of its clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct OnLines {
    ns64: u32,
    ns128: u32,
    neither: u32,
}

impl OnLines {
    /// A number was compared with the one before on its tuple.
    pub fn note(&mut self, line: Line) {
        let count = match line {
            Line::Ns64 => &mut self.ns64,
            Line::Ns128 => &mut self.ns128,
            Line::Neither => &mut self.neither,
        };
        *count = count.saturating_add(1);
    }

    /// The model whose clock it is: some numbers are off it where TIME-WAIT is recycled, or several hosts
    /// share the address, but as many must lie on it.
    fn model(&self) -> Option<Model> {
        let Self { ns64, ns128, neither } = *self;
        let is_it = |on: u32, off: u32| on >= ON_LINE && on >= off;
        if is_it(ns64, ns128.saturating_add(neither)) {
            Some(Model::Linux)
        } else if is_it(ns128, ns64.saturating_add(neither)) {
            Some(Model::MacOs)
        } else {
            None
        }
    }
}

/// What is known of one host.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// The longest hold seen past the model's time, microseconds.
    pub longer_us: u64,
    /// Whether it proved to be Linux.
    pub is_linux: bool,
    /// What its initial sequence numbers say.
    pub lines: OnLines,
    /// SYNs refused by their sequence number that it left unanswered.
    silent: u32,
    /// Whether it answered one.
    answered: bool,
    /// How often it contradicted its model.
    pub contradictions: u32,
}

impl Known {
    /// A SYN was refused by its sequence number, with or without an answer.
    pub fn refused(&mut self, refusal: Refusal) {
        match refusal {
            Refusal::Silence => self.silent = self.silent.saturating_add(1),
            Refusal::Ack | Refusal::Unknown => self.answered = true,
        }
    }

    /// Whose TCP it is, surest evidence first. Silence is FreeBSD's answer: OpenBSD's is not known.
    fn model(&self) -> Option<Model> {
        let silent = self.silent >= SILENT && !self.answered;
        self.is_linux
            .then_some(Model::Linux)
            .or_else(|| self.lines.model())
            .or_else(|| silent.then_some(Model::FreeBsd))
    }
}

/// A bounded memory of hosts.
#[derive(Debug)]
pub struct HostEvidence {
    hosts: HashMap<[u8; 16], Known, RandomState>,
}

impl HostEvidence {
    /// Reserves everything it will ever need.
    #[must_use]
    pub fn new(state: RandomState) -> Self {
        Self { hosts: HashMap::with_capacity_and_hasher(2 * HOSTS, state) }
    }

    /// Learns of a host; `false` if all places are taken.
    pub fn learn(&mut self, host: [u8; 16], learn: impl FnOnce(&mut Known)) -> bool {
        if self.hosts.len() >= HOSTS && !self.hosts.contains_key(&host) {
            return false;
        }
        learn(self.hosts.entry(host).or_default());
        true
    }

    /// Whose TCP the host's is, by evidence.
    #[must_use]
    pub fn model(&self, host: &[u8; 16]) -> Option<Model> {
        self.hosts.get(host)?.model()
    }

    /// Adds what is known of the holder to a finding about it.
    pub fn annotate(&self, finding: &mut Finding) {
        let Some(Fact::Address(host)) = finding.fact("holder.ip") else { return };
        let Some(known) = self.hosts.get(&host) else { return };
        let proven = finding.fact("host_model_from") == Some(Fact::Word("evidence"));
        if proven && finding.fact("host_model") == Some(Fact::Word(Model::FreeBsd.word())) {
            finding.confidence.lower(10, "silence_may_be_loss");
        }
        // What contradicted the default says nothing against the model that came of it.
        let replaced = proven && known.model() != Some(Model::Linux);
        if known.contradictions >= OFTEN && !replaced {
            finding.confidence.lower(20, "host_often_contradicts_model");
        }
        if known.longer_us > 0 {
            annotate_deadline(finding, known.longer_us);
        }
    }
}

/// A host that was seen to hold longer than its model says does so on its other tuples too.
fn annotate_deadline(finding: &mut Finding, longer_us: u64) {
    let (
        Some(Fact::Word("time_wait")),
        Some(Fact::Time(deadline_ns)),
        Some(Fact::Number(deadline_ms)),
    ) = (
        finding.fact("holder.state"),
        finding.fact("holder.deadline"),
        finding.fact("holder.deadline_ms"),
    )
    else {
        return;
    };
    let longer_ms = i64::try_from(longer_us / 1000).unwrap_or(i64::MAX);
    finding.set("holder.deadline", Fact::Time(deadline_ns + longer_us * 1000));
    finding.set("holder.deadline_ms", Fact::Number(deadline_ms.saturating_add(longer_ms)));
    finding.set("holder.deadline_from", Fact::Word("evidence"));
}
