//! What hosts were seen to be, whatever is configured: how long they hold, whose TCP theirs is, how often
//! they did otherwise than foretold. Said on findings about them.
//!
//! It lies behind all workers, each of which sees but a share of a host's tuples.

use ahash::RandomState;
use hashbrown::HashMap;

use crate::finding::{Fact, Finding};
use crate::host::{Model, Refusal, openbsd};
use crate::lines::{Clock, Line, Reading};

/// Hosts remembered at most.
const HOSTS: usize = 1 << 14;

/// After as many contradictions a host's verdicts are less sure.
const OFTEN: u32 = 3;

/// As many numbers on a clock's line prove the clock: by chance one of 4000 lies there.
const ON_LINE: u32 = 2;

/// As many refusals left without an answer, and none answered, are no loss.
const SILENT: u32 = 3;

/// As many are enough of a host whose timestamps count milliseconds, as FreeBSD's do.
const SILENT_PER_MS: u32 = 2;

/// As many SYN/ACKs out of TIME-WAIT, all of them such as OpenBSD's, are OpenBSD's: one of four is by
/// chance.
const RECYCLED: u32 = 8;

/// What a host's first sequence numbers and timestamps say of its clocks.
#[derive(Clone, Copy, Debug, Default)]
struct Numbers {
    ns64: u32,
    ns128: u32,
    mib_per_s: u32,
    mib_per_s_in_steps: u32,
    neither: u32,
    per_ms: u32,
    slower: u32,
    jumped: u32,
}

impl Numbers {
    /// A connection's were compared with those of the one before on its tuple. That its timestamps go on
    /// at 1 kHz names no system, but shows that the same host speaks: then one number on a line is as good
    /// as two.
    fn note(&mut self, reading: Reading) {
        let worth = if reading.clock == Some(Clock::PerMs) { ON_LINE } else { 1 };
        let (line, worth) = match reading.line {
            Line::Ns64 => (&mut self.ns64, worth),
            Line::Ns128 => (&mut self.ns128, worth),
            Line::MibPerS => (&mut self.mib_per_s, worth),
            Line::MibPerSInSteps => (&mut self.mib_per_s_in_steps, worth),
            Line::Neither => (&mut self.neither, 1),
        };
        *line = line.saturating_add(worth);
        let clock = match reading.clock {
            Some(Clock::PerMs) => &mut self.per_ms,
            Some(Clock::Slower) => &mut self.slower,
            Some(Clock::Jumped) => &mut self.jumped,
            None => return,
        };
        *clock = clock.saturating_add(1);
    }

    /// The model whose clock it is: some numbers are off it where TIME-WAIT is recycled, or several hosts
    /// share the address, but as many must lie on it.
    fn model(&self) -> Option<Model> {
        let lines = [
            (self.ns64, Model::Linux),
            (self.ns128, Model::MacOs),
            (self.mib_per_s, Model::FreeBsd),
            (self.mib_per_s_in_steps, Model::OpenBsd),
        ];
        let all = lines.iter().fold(self.neither, |all, (on, _)| all.saturating_add(*on));
        let is_it = |(on, _): &&(u32, Model)| *on >= ON_LINE && *on >= all - *on;
        lines.iter().find(is_it).map(|(_, model)| *model)
    }

    /// Whether the timestamps go on from one connection to the next on a tuple.
    fn goes_on(&self) -> bool {
        self.per_ms + self.slower > 0
    }
}

/// What is known of one host.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// The longest hold seen past the model's time, microseconds.
    pub longer_us: u64,
    /// Whether it proved to be Linux.
    pub is_linux: bool,
    /// What its SYN/ACKs say.
    accepted: Numbers,
    /// What its SYNs say.
    opened: Numbers,
    /// SYN/ACKs out of TIME-WAIT that may be OpenBSD's, and others.
    recycled: u32,
    recycled_otherwise: u32,
    /// SYNs refused by their sequence number that it left unanswered.
    silent: u32,
    /// Whether it answered one.
    answered: bool,
    /// How often it contradicted its model.
    pub contradictions: u32,
}

impl Known {
    /// The first numbers of one of its connections were compared with those of the one before.
    pub fn began(&mut self, reading: Reading) {
        let numbers = if reading.opened { &mut self.opened } else { &mut self.accepted };
        numbers.note(reading);
    }

    /// It accepted a SYN out of TIME-WAIT, with a number so far ahead of its old SND.NXT.
    pub fn recycled(&mut self, ahead: i32) {
        let fits = openbsd::may_recycle_to(ahead);
        let count = if fits { &mut self.recycled } else { &mut self.recycled_otherwise };
        *count = count.saturating_add(1);
    }

    /// A SYN was refused by its sequence number, with or without an answer.
    pub fn refused(&mut self, refusal: Refusal) {
        match refusal {
            Refusal::Silence => self.silent = self.silent.saturating_add(1),
            Refusal::Ack => self.answered = true,
        }
    }

    /// Whose TCP it is, surest evidence first.
    fn model(&self) -> Option<Model> {
        self.is_linux
            .then_some(Model::Linux)
            .or_else(|| self.accepted.model())
            .or_else(|| self.is_openbsd().then_some(Model::OpenBsd))
            .or_else(|| self.opened.model())
            .or_else(|| self.is_freebsd().then_some(Model::FreeBsd))
    }

    /// OpenBSD numbers what it recycles by a rule of its own, and gives each connection that it accepts
    /// another timestamp offset, also on the same tuple.
    fn is_openbsd(&self) -> bool {
        let alike = self.recycled >= RECYCLED && self.recycled_otherwise == 0;
        alike && !self.accepted.goes_on()
    }

    /// Silence where the sequence number refuses is FreeBSD's: OpenBSD and macOS answer there. FreeBSD's
    /// timestamps go on at 1 kHz; where others do not, silence was loss.
    fn is_freebsd(&self) -> bool {
        let Numbers { per_ms, slower, jumped, .. } = self.accepted;
        let enough = match () {
            () if slower + jumped > per_ms => return false,
            () if per_ms > 0 => SILENT_PER_MS,
            () => SILENT,
        };
        self.silent >= enough && !self.answered
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
