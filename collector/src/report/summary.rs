//! The closing summary: captured, selected, lost by place, connections, reuse by outcome.

use std::fmt::Write as _;

use xdpwatch_core::census::{Row, STATES};
use xdpwatch_core::legs::Balancer;

use super::text::{address, endpoint};
use super::time::rfc3339;
use super::{Context, Occasion};
use crate::health::LossWindow;
use crate::stats::{FileStats, Live, Stats};

/// The block for one vantage point.
#[must_use]
pub fn block(context: &Context, stats: &Stats, occasion: Occasion) -> String {
    let title = match occasion {
        Occasion::End => "summary",
        Occasion::Interval | Occasion::Asked => "statistics",
    };
    let mut text = format!("{title} of {}", context.name());
    if stats.at_ns > 0 {
        let _ = write!(text, " at {}", rfc3339(stats.at_ns));
    }
    text.push('\n');
    let mut line = |label: &str, rest: String| {
        let _ = writeln!(text, "  {label:<13}{rest}");
    };
    if let Some(file) = &stats.file {
        line("captured", captured(file));
    }
    if let Some(live) = &stats.live {
        line("captured", format!("{} frames seen by XDP", live.seen));
        line("selected", format!("{}, of which {} received", live.selected, live.received));
        line("dropped", format!("{} not needed, {} passed on", live.dropped, live.passed));
        line("lost", lost(live));
    }
    if let Some(loss) = stats.loss.filter(|loss| loss.lost.total() > 0) {
        line("lost lately", lost_lately(&loss));
    }
    if let Some(latency) = stats.latency.filter(|latency| latency.alerts > 0) {
        line(
            "alerts after",
            format!(
                "{} us (half of them), {} us (99 of 100), {} us (the slowest)",
                latency.p50_us, latency.p99_us, latency.max_us
            ),
        );
    }
    let skipped = nonzero(stats.skipped.iter().copied());
    if !skipped.is_empty() {
        line("skipped", skipped);
    }
    let counters = &stats.detector.counters;
    line("records", counters.records.to_string());
    line(
        "connections",
        format!(
            "{} from their SYN, {} picked up in mid-stream",
            counters.connections, counters.mid_stream
        ),
    );
    line(
        "reuse",
        format!(
            "{} accepted, {} recovered, {} failed, {} abandoned, {} after the deadline, {} by the \
             holder itself",
            counters.reuse_accepted,
            counters.reuse_recovered,
            counters.reuse_failed,
            counters.reuse_abandoned,
            counters.reuse_expired,
            counters.self_reuse
        ),
    );
    let occupancy = &stats.detector.occupancy;
    let mut states = Vec::new();
    occupancy.each(|name, count| states.push((name, if name == "capacity" { 0 } else { count })));
    line("table", format!("{} of {} tuples", occupancy.used(), occupancy.capacity));
    line("states", or_none(nonzero(states.into_iter())));
    let losses = [
        ("refused", counters.table_refused),
        ("closed given up early", counters.evicted_closed),
        ("handshakes given up early", counters.evicted_embryonic),
        ("contests not followed", counters.contests_full),
        ("model contradicted", counters.model_contradicted),
        ("folded into the other leg's", stats.aggregate.folded),
        ("alerts not remembered for folding", stats.aggregate.standing_full),
        ("hosts' hold times not remembered", stats.aggregate.hosts_full),
        ("cases that rules could not follow", stats.aggregate.rules_full),
        ("findings grouped more coarsely", stats.groups.overflow),
        ("findings whose end could not be awaited", stats.groups.members_full),
        ("steps not in the census", stats.aggregate.census_full),
    ];
    let losses = nonzero(losses.into_iter());
    if !losses.is_empty() {
        line("noted", losses);
    }
    for (n, row) in stats.census.services.iter().enumerate() {
        line(if n == 0 { "services" } else { "" }, standing(row, endpoint(&row.end)));
    }
    for (n, row) in stats.census.sources.iter().enumerate() {
        line(if n == 0 { "sources" } else { "" }, standing(row, address(&row.end.addr)));
    }
    for balancer in &stats.balancers {
        line("balancer", roles(balancer));
    }
    let findings = &stats.findings;
    line(
        "findings",
        format!(
            "{} of severity 1, {} of severity 2, {} of severity 3 when they began; {} resolved; in {} \
             groups",
            findings.severity_1,
            findings.severity_2,
            findings.severity_3,
            findings.resolved,
            stats.groups.groups
        ),
    );
    if let Some(webhooks) = &stats.webhooks {
        let counts = [
            ("delivered so far", webhooks.delivered),
            ("waiting", webhooks.waiting),
            ("tries failed", webhooks.retried),
            ("refused for good", webhooks.dead),
            ("given up, spool full", webhooks.evicted),
            ("lost, spool unwritable", webhooks.unspooled),
            ("lost, queue full", webhooks.lost),
        ];
        line("webhooks", or_none(nonzero(counts.into_iter())));
    }
    text.push('\n');
    text
}

/// How many of whose connections stand where, as `netstat | sort | uniq -c` would say at both ends.
fn standing(row: &Row, name: String) -> String {
    let states = nonzero(STATES.into_iter().zip(row.states));
    format!("{:>9}  {name}: {states}", row.total())
}

/// A balanced service, where its connections come from and go to.
fn roles(balancer: &Balancer) -> String {
    let pool: Vec<String> = balancer.pool.iter().map(|(addr, _)| address(addr)).collect();
    let servers: Vec<String> = balancer.servers.iter().map(|(end, _)| endpoint(end)).collect();
    format!(
        "{} from {} to {}; {} connections joined, {} of them by their numbers",
        endpoint(&balancer.vip),
        if pool.is_empty() { "the clients' own addresses".to_owned() } else { pool.join(", ") },
        servers.join(", "),
        balancer.joined,
        balancer.by_numbers
    )
}

fn captured(file: &FileStats) -> String {
    let notes = nonzero(
        [
            ("cut by the snap length", file.cut_packets),
            ("of unknown link types", file.unknown_link),
            ("without a time", file.timeless),
            ("out of order", file.clock_backwards),
        ]
        .into_iter(),
    );
    let packets = format!("{} packets, {} bytes read", file.packets, file.bytes);
    if notes.is_empty() { packets } else { format!("{packets}; {notes}") }
}

/// Where frames and findings were lost, by place.
fn lost(live: &Live) -> String {
    or_none(nonzero(
        [
            ("NIC", live.nic_lost),
            ("not handed over by XDP", live.not_handed_over),
            ("AF_XDP ring full", live.rx_ring_full),
            ("AF_XDP no buffer", live.rx_dropped),
            ("redirect", live.redirect_errors),
            ("bad heads", live.bad_heads),
            ("hand-off ring", live.handoff_lost),
            ("aggregator queue", live.aggregator_lost),
            ("reporter queue", live.reporter_lost),
            ("writer queue", live.writer_lost),
        ]
        .into_iter(),
    ))
}

/// What was lost in the last seconds, in thousandths of what came and of what was needed.
fn lost_lately(loss: &LossWindow) -> String {
    let mut places = Vec::new();
    loss.lost.each(|name, count| places.push((name, count)));
    format!(
        "{} in {} s: {:.1} per thousand of all frames, {:.1} per thousand of those needed",
        nonzero(places.into_iter()),
        loss.window_ms / 1000,
        loss.rate_ppm as f64 / 1000.0,
        loss.evidence_ppm as f64 / 1000.0
    )
}

fn nonzero(counts: impl Iterator<Item = (&'static str, u64)>) -> String {
    let parts: Vec<String> = counts
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    parts.join(", ")
}

fn or_none(text: String) -> String {
    if text.is_empty() { "nothing".to_owned() } else { text }
}
