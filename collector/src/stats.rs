//! Every place's counters in one struct: what was seen, what became of it, what was lost and where.
//!
//! The places add up: see [`Live`] for the two sums that hold.

use xdpwatch_core::aggregate;
use xdpwatch_core::census::Snapshot;
use xdpwatch_core::counters::Counters;
use xdpwatch_core::finding::{Finding, State};
use xdpwatch_core::flows::Occupancy;
use xdpwatch_core::group;
use xdpwatch_core::legs::Balancer;

use crate::health::{Latency, LossWindow};

use crate::evidence;

/// What was read of a capture file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileStats {
    /// Packets read.
    pub packets: u64,
    /// Bytes read, before unpacking.
    pub bytes: u64,
    /// Packets of which bytes are missing (snap length).
    pub cut_packets: u64,
    /// Packets of link types that are not supported.
    pub unknown_link: u64,
    /// Packets without a time of their own.
    pub timeless: u64,
    /// Packets whose time was before an earlier packet's: they were given that one's.
    pub clock_backwards: u64,
    /// Packets whose time was hours ahead of those around them: they were given the earlier one's.
    pub damaged_times: u64,
}

/// What interfaces delivered and what became of it; of one interface, up to [`Live::bad_heads`].
///
/// `seen = selected + dropped + passed`;
/// `selected = received + rx_ring_full + rx_dropped + redirect_errors` (frames still in a ring aside);
/// `received = bad_heads + skipped + beyond_count + handoff_lost + the detector's records` (records
/// still between workers aside). Before these come `nic_lost`, after them what the queues lose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// Frames the XDP program saw.
    pub seen: u64,
    /// Frames it sent to user space. In tap mode they went on to the stack too.
    pub selected: u64,
    /// Frames it dropped, all reasons together.
    pub dropped: u64,
    /// Frames it only passed on to the kernel's stack, all reasons together.
    pub passed: u64,
    /// Frames user space took out of the rings.
    pub received: u64,
    /// Frames lost because a receive ring was full.
    pub rx_ring_full: u64,
    /// Frames the kernel could not deliver: no free buffer, or longer than one.
    pub rx_dropped: u64,
    /// Times the kernel found no free buffer: a cause of `rx_dropped`, no further loss.
    pub fill_ring_empty: u64,
    /// Of those dropped or passed, frames that were wanted: no socket bound to their queue, payload
    /// that could not be cut off, no room in the ring buffer of tap mode.
    pub not_handed_over: u64,
    /// Selected frames that reached no socket. Exact at the end; before that frames may be in the
    /// rings, and only those that can't be there are counted.
    pub redirect_errors: u64,
    /// Frames lost before XDP: the interface's own receive errors and misses.
    pub nic_lost: u64,
    /// Frames whose head could not be read.
    pub bad_heads: u64,
    /// Records left out because `--count` was reached.
    pub beyond_count: u64,
    /// Records lost because a hand-off ring was full.
    pub handoff_lost: u64,
    /// Records handed over later than the merge waits: they were observed out of order.
    pub late: u64,
    /// Outputs lost because the aggregator's queue was full.
    pub aggregator_lost: u64,
    /// Findings lost because the reporter's queue was full.
    pub reporter_lost: u64,
    /// Headers lost because the file writer's queue (`-w`) was full.
    pub writer_lost: u64,
    /// Times in which an interface showed nothing: down, gone, the program taken off.
    pub gaps: u64,
    /// How long those were together, milliseconds.
    pub gap_ms: u64,
}

/// What became of alerts for webhooks, all hooks together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WebhookStats {
    /// Taken by the other end.
    pub delivered: u64,
    /// Tries that failed and are repeated.
    pub retried: u64,
    /// Refused for good.
    pub dead: u64,
    /// Given up because a spool was full.
    pub evicted: u64,
    /// Lost because they could not be written to a spool.
    pub unspooled: u64,
    /// Waiting now.
    pub waiting: u64,
    /// Lost because the queue to the spool's thread was full.
    pub lost: u64,
}

/// Findings by what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FindingStats {
    /// Firing findings of severity 1.
    pub severity_1: u64,
    /// Firing findings of severity 2.
    pub severity_2: u64,
    /// Firing findings of severity 3.
    pub severity_3: u64,
    /// Findings that were resolved.
    pub resolved: u64,
    /// Findings, firing or resolved, of severity 1 or 2: what `--exit-code` asks for.
    pub severe: u64,
}

impl FindingStats {
    /// Counts a finding that is being reported.
    pub fn count(&mut self, finding: &Finding) {
        let slot = match (finding.state, finding.severity) {
            (State::Resolved, _) => &mut self.resolved,
            (State::Firing, 0 | 1) => &mut self.severity_1,
            (State::Firing, 2) => &mut self.severity_2,
            (State::Firing, _) => &mut self.severity_3,
        };
        *slot += 1;
        self.severe += u64::from(finding.severity <= 2);
    }

    /// Adds another vantage point's findings.
    pub fn add(&mut self, other: &Self) {
        self.severity_1 += other.severity_1;
        self.severity_2 += other.severity_2;
        self.severity_3 += other.severity_3;
        self.resolved += other.resolved;
        self.severe += other.severe;
    }
}

/// What the detector says of itself, all workers together.
#[derive(Clone, Copy, Debug, Default)]
pub struct DetectorStats {
    /// What happened.
    pub counters: Counters,
    /// Tuples held now, by state.
    pub occupancy: Occupancy,
    /// How long closed tuples are remembered at least, nanoseconds; the shortest of all workers.
    pub remembered_ns: u64,
}

impl DetectorStats {
    /// Adds another worker's part.
    pub fn add(&mut self, other: &Self) {
        self.counters.add(&other.counters);
        self.occupancy.add(&other.occupancy);
        self.remembered_ns = match self.remembered_ns {
            0 => other.remembered_ns,
            known => known.min(other.remembered_ns),
        };
    }
}

/// Everything counted at one moment.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// When, nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// Present if the packets came from a file.
    pub file: Option<FileStats>,
    /// Present if the packets came from an interface.
    pub live: Option<Live>,
    /// The same of each interface, by name: both of the first sums hold for each.
    pub interfaces: Vec<(String, Live)>,
    /// Live: losses of the last seconds.
    pub loss: Option<LossWindow>,
    /// Live: how long alerts took.
    pub latency: Option<Latency>,
    /// What the XDP program did, by outcome and disposition.
    pub program: Vec<(&'static str, u64)>,
    /// Frames that are no record, by reason, as the host's parser counted them.
    pub skipped: Vec<(&'static str, u64)>,
    /// The detector's part.
    pub detector: DetectorStats,
    /// The aggregator's part.
    pub aggregate: aggregate::Counts,
    /// Who stands where: the largest services and sources.
    pub census: Snapshot,
    /// The balancers that joined legs showed.
    pub balancers: Vec<Balancer>,
    /// Findings reported.
    pub findings: FindingStats,
    /// Their groups.
    pub groups: group::Counts,
    /// Present if there are webhooks.
    pub webhooks: Option<WebhookStats>,
    /// Present if evidence is kept: of all vantage points of this run together.
    pub evidence: Option<evidence::Counts>,
}

impl Stats {
    /// Adds what the XDP program did at another interface.
    pub fn add_program(&mut self, outcomes: &[(&'static str, u64)]) {
        for (name, count) in outcomes {
            match self.program.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum += count,
                None => self.program.push((name, *count)),
            }
        }
    }

    /// Group, name and value of every counter, in the order printed.
    pub fn each(&self, f: &mut impl FnMut(&'static str, &'static str, u64)) {
        if let Some(file) = &self.file {
            each_of_file(file, &mut |name, value| f("file", name, value));
        }
        if let Some(live) = &self.live {
            each_of_live(live, &mut |name, value| f("capture", name, value));
        }
        if let Some(loss) = &self.loss {
            loss.each(&mut |name, value| f("loss", name, value));
        }
        if let Some(latency) = &self.latency {
            latency.each(&mut |name, value| f("latency", name, value));
        }
        self.program.iter().for_each(|(name, value)| f("program", name, *value));
        self.skipped.iter().for_each(|(name, value)| f("skipped", name, *value));
        self.detector.counters.each(|name, value| f("detector", name, value));
        self.detector.occupancy.each(|name, value| f("table", name, value));
        f("table", "remembered_s", self.detector.remembered_ns / 1_000_000_000);
        self.aggregate.each(|name, value| f("aggregate", name, value));
        self.aggregate.legs.each(|name, value| f("legs", name, value));
        let FindingStats { severity_1, severity_2, severity_3, resolved, severe: _ } =
            self.findings;
        f("findings", "severity_1", severity_1);
        f("findings", "severity_2", severity_2);
        f("findings", "severity_3", severity_3);
        f("findings", "resolved", resolved);
        self.groups.each(|name, value| f("groups", name, value));
        if let Some(webhooks) = &self.webhooks {
            each_of_webhooks(webhooks, &mut |name, value| f("webhook", name, value));
        }
        if let Some(counts) = &self.evidence {
            counts.each(|name, value| f("evidence", name, value));
        }
    }
}

fn each_of_webhooks(webhooks: &WebhookStats, f: &mut impl FnMut(&'static str, u64)) {
    f("delivered", webhooks.delivered);
    f("retried", webhooks.retried);
    f("dead", webhooks.dead);
    f("evicted", webhooks.evicted);
    f("unspooled", webhooks.unspooled);
    f("waiting", webhooks.waiting);
    f("webhook_lost", webhooks.lost);
}

fn each_of_file(file: &FileStats, f: &mut impl FnMut(&'static str, u64)) {
    f("packets", file.packets);
    f("bytes", file.bytes);
    f("cut_packets", file.cut_packets);
    f("unknown_link", file.unknown_link);
    f("timeless", file.timeless);
    f("clock_backwards", file.clock_backwards);
    f("damaged_times", file.damaged_times);
}

impl Live {
    /// Name and value of each counter that an interface has, in the order printed.
    pub fn each_of_interface(&self, f: &mut impl FnMut(&'static str, u64)) {
        f("seen", self.seen);
        f("selected", self.selected);
        f("dropped", self.dropped);
        f("passed", self.passed);
        f("received", self.received);
        f("rx_ring_full", self.rx_ring_full);
        f("rx_dropped", self.rx_dropped);
        f("fill_ring_empty", self.fill_ring_empty);
        f("not_handed_over", self.not_handed_over);
        f("redirect_errors", self.redirect_errors);
        f("nic_lost", self.nic_lost);
        f("bad_heads", self.bad_heads);
    }

    /// Adds what was counted of another interface.
    pub fn add_interface(&mut self, other: &Self) {
        self.seen += other.seen;
        self.selected += other.selected;
        self.dropped += other.dropped;
        self.passed += other.passed;
        self.received += other.received;
        self.rx_ring_full += other.rx_ring_full;
        self.rx_dropped += other.rx_dropped;
        self.fill_ring_empty += other.fill_ring_empty;
        self.not_handed_over += other.not_handed_over;
        self.redirect_errors += other.redirect_errors;
        self.nic_lost += other.nic_lost;
        self.bad_heads += other.bad_heads;
    }
}

fn each_of_live(live: &Live, f: &mut impl FnMut(&'static str, u64)) {
    live.each_of_interface(f);
    f("beyond_count", live.beyond_count);
    f("handoff_lost", live.handoff_lost);
    f("late", live.late);
    f("aggregator_lost", live.aggregator_lost);
    f("reporter_lost", live.reporter_lost);
    f("writer_lost", live.writer_lost);
    f("gaps", live.gaps);
    f("gap_ms", live.gap_ms);
}
