//! The sentences of the closing summary.

use xdpwatch_core::counters::Counters;
use xdpwatch_core::legs::Balancer;
use xdpwatch_core::occupancy::Occupancy;

use crate::health::{Latency, LossWindow};
use crate::report::Occasion;
use crate::report::values::{address, endpoint};
use crate::stats::{FileStats, Live, Stats};

/// What the block is about.
#[must_use]
pub fn title(occasion: Occasion, name: &str, at: Option<&str>) -> String {
    let title = match occasion {
        Occasion::End => "summary",
        Occasion::Interval | Occasion::Asked => "statistics",
    };
    let at = at.map_or_else(String::new, |at| format!(" at {at}"));
    format!("{title} of {name}{at}")
}

/// What was read of a file.
#[must_use]
pub fn read(file: &FileStats) -> String {
    format!("{} packets, {} bytes read", file.packets, file.bytes)
}

/// What the XDP program saw.
#[must_use]
pub fn seen(live: &Live) -> String {
    format!("{} frames seen by XDP", live.seen)
}

/// What it selected, and what of that came.
#[must_use]
pub fn selected(live: &Live) -> String {
    format!("{}, of which {} received", live.selected, live.received)
}

/// What it did not select.
#[must_use]
pub fn dropped(live: &Live) -> String {
    format!("{} not needed, {} passed on", live.dropped, live.passed)
}

/// What came in by one of several interfaces.
#[must_use]
pub fn interface(name: &str, live: &Live, lost: &str) -> String {
    let Live { seen, selected, received, .. } = live;
    format!("{name}: {seen} frames seen, {selected} selected, {received} received; lost: {lost}")
}

/// The capture on an interface was interrupted, or goes on.
#[must_use]
pub fn interruption(iface: &str, why: &str, gap_ns: Option<u64>) -> String {
    match gap_ns {
        None => format!("interface {iface}: {why}; nothing is seen there until capturing goes on"),
        Some(gap_ns) => {
            let s = gap_ns as f64 / 1e9;
            format!(
                "interface {iface}: nothing was seen for {s:.3} s, because {why}; findings that \
                 reach back into that time are less sure"
            )
        }
    }
}

/// Records that came too late to be observed in order.
#[must_use]
pub fn late(live: &Live) -> String {
    format!("{} records observed late: findings of these moments are less sure", live.late)
}

/// The losses of the last seconds.
#[must_use]
pub fn lost_lately(places: &str, loss: &LossWindow) -> String {
    format!(
        "{places} in {} s: {:.1} per thousand of all frames, {:.1} per thousand of those needed",
        loss.window_ms / 1000,
        loss.rate_ppm as f64 / 1000.0,
        loss.evidence_ppm as f64 / 1000.0
    )
}

/// How long alerts took.
#[must_use]
pub fn latency(latency: &Latency) -> String {
    format!(
        "{} us (half of them), {} us (99 of 100), {} us (the slowest)",
        latency.p50_us, latency.p99_us, latency.max_us
    )
}

/// How connections were met.
#[must_use]
pub fn connections(counters: &Counters) -> String {
    format!(
        "{} from their SYN, {} picked up in mid-stream",
        counters.connections, counters.mid_stream
    )
}

/// What became of reuse.
#[must_use]
pub fn reuse(counters: &Counters) -> String {
    format!(
        "{} accepted, {} recovered, {} failed, {} abandoned, {} after the deadline, {} by the \
         holder itself",
        counters.reuse_accepted,
        counters.reuse_recovered,
        counters.reuse_failed,
        counters.reuse_abandoned,
        counters.reuse_expired,
        counters.self_reuse
    )
}

/// How full the table is.
#[must_use]
pub fn table(occupancy: &Occupancy) -> String {
    format!("{} of {} tuples", occupancy.used(), occupancy.capacity)
}

/// A balanced service, where its connections come from and go to.
#[must_use]
pub fn roles(balancer: &Balancer) -> String {
    let pool: Vec<String> = balancer.pool.iter().map(|member| address(&member.end)).collect();
    let servers: Vec<String> =
        balancer.servers.iter().map(|member| endpoint(&member.end)).collect();
    if balancer.joined == 0 {
        return format!("{} (configured); no connection joined", endpoint(&balancer.vip));
    }
    format!(
        "{}{} from {} to {}; {} connections joined, {} of them by their numbers",
        endpoint(&balancer.vip),
        if balancer.configured { " (configured)" } else { "" },
        if pool.is_empty() { "the clients' own addresses".to_owned() } else { pool.join(", ") },
        servers.join(", "),
        balancer.joined,
        balancer.by_numbers
    )
}

/// How many findings of which severity.
#[must_use]
pub fn findings(stats: &Stats) -> String {
    let findings = &stats.findings;
    format!(
        "{} of severity 1, {} of severity 2, {} of severity 3 when they began; {} resolved; in {} \
         groups",
        findings.severity_1,
        findings.severity_2,
        findings.severity_3,
        findings.resolved,
        stats.groups.groups
    )
}
