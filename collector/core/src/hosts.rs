//! What hosts were seen to be, whatever is configured: how long they hold, whether they are Linux,
//! how often they did otherwise than foretold. Said on findings about them.
//!
//! It lies behind all workers, each of which sees but a share of a host's tuples.

use ahash::RandomState;
use hashbrown::HashMap;

use crate::finding::{Fact, Finding};

/// Hosts remembered at most.
const HOSTS: usize = 1 << 14;

/// After as many contradictions a host's verdicts are less sure.
const OFTEN: u32 = 3;

/// What is known of one host.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// The longest hold seen past the model's time, microseconds.
    pub longer_us: u64,
    /// Whether it proved to be Linux.
    pub is_linux: bool,
    /// How often it contradicted its model.
    pub contradictions: u32,
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

    /// Adds what is known of the holder to a finding about it.
    pub fn annotate(&self, finding: &mut Finding) {
        let Some(Fact::Address(host)) = finding.fact("holder.ip") else { return };
        let Some(known) = self.hosts.get(&host) else { return };
        if known.is_linux && finding.fact("host_model_from") == Some(Fact::Word("default")) {
            finding.set("host_model_from", Fact::Word("evidence"));
        }
        if known.contradictions >= OFTEN {
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
