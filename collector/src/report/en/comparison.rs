//! The sentences about two captures of the same traffic.

use crate::compare::{Comparison, Explained, Group, Watched};
use crate::report::time::rfc3339;
use crate::report::values::{address, endpoint};

/// What the block is about.
#[must_use]
pub fn title(comparison: &Comparison) -> String {
    let [first, second] = &comparison.names;
    let mut title = format!("comparison of {first} and {second}");
    if let Some(watched) = &comparison.watched {
        let (from, until) = (rfc3339(watched.from_ns), rfc3339(comparison.at_ns));
        title += &format!(", {from} to {until}");
    }
    title
}

/// What the path between two interfaces takes: both have one clock.
#[must_use]
pub fn path(comparison: &Comparison, watched: &Watched) -> String {
    let [first, second] = &comparison.names;
    let ways = watched.later_ns.iter().zip(["clients", "servers"]).filter_map(|(ns, who)| {
        let (ns, order) =
            (*ns.as_ref()?, if ns.is_some_and(|ns| ns < 0) { "before" } else { "after" });
        let ms = ns.unsigned_abs() as f64 / 1e6;
        Some(format!("what {who} sent passed {second} {ms:.3} ms {order} {first}"))
    });
    let ways: Vec<String> = ways.collect();
    if ways.is_empty() {
        return "nothing was seen at both".to_owned();
    }
    format!("{} (one clock)", ways.join(", "))
}

/// What a capture lost itself, and what is not called lost on the way for that.
#[must_use]
pub fn doubt(name: &str, of_capture: u64, in_doubt: u64) -> String {
    format!(
        "the capture on {name} lost {of_capture} frames itself; {in_doubt} segments missing there at \
         such times are not called lost"
    )
}

/// How the two clocks stand to each other.
#[must_use]
pub fn clocks(comparison: &Comparison) -> String {
    let Comparison { names: [first, second], clock, .. } = comparison;
    let (sign, offset) = if clock.offset_ns < 0 { ("behind", "-") } else { ("ahead of", "+") };
    let seconds = clock.offset_ns.unsigned_abs() as f64 / 1e9;
    let path = clock.path_ns.map_or_else(
        || "one direction alone was seen: what the path takes is part of it".to_owned(),
        |path_ns| format!("the path between takes {:.3} ms", path_ns as f64 / 1e6),
    );
    format!("{second} is {sign} {first} by {seconds:.6} s ({offset}); {path}")
}

/// How fast they part.
#[must_use]
pub fn drift(comparison: &Comparison) -> String {
    match comparison.clock.drift_ppb {
        Some(ppb) => format!("{:+.3} ppm", ppb / 1000.0),
        None => "not told: fewer than 64 segments in common, or less than 10 s".to_owned(),
    }
}

/// What both have.
#[must_use]
pub fn matched(comparison: &Comparison) -> String {
    format!("{} segments in both", comparison.counts.matched)
}

/// What was not compared.
#[must_use]
pub fn left_out(comparison: &Comparison) -> String {
    let counts = &comparison.counts;
    let data = "; data: merged or split between the points";
    format!(
        "{} outside of the time that both cover, {} between addresses that one capture has nothing \
         of, {} copies, {} not compared, {} not kept{}",
        counts.outside,
        counts.elsewhere,
        counts.copies,
        counts.not_compared,
        counts.not_kept,
        if comparison.data_left_out { data } else { "" }
    )
}

/// What passed a point and is not in its capture.
#[must_use]
pub fn missed(name: &str, missed: u64) -> String {
    format!("{missed} segments that passed were not captured in {name}")
}

/// What is not told one by one.
#[must_use]
pub fn more(more: u64) -> String {
    format!("and {more} more kinds and tuples")
}

/// "10.0.0.2's 6 ACK to 10.0.0.1:40000 left server.pcap and never reached f5.pcap".
#[must_use]
pub fn group(comparison: &Comparison, group: &Group) -> String {
    format!(
        "{}'s {} {} to {} passed {} and never reached {}, {} to {}",
        endpoint(&group.src),
        group.count,
        group.kind,
        endpoint(&group.dst),
        comparison.names[group.seen_at],
        comparison.names[1 - group.seen_at],
        rfc3339(group.span_ns.0),
        rfc3339(group.span_ns.1)
    )
}

/// What the comparison says of a finding.
#[must_use]
pub fn conclusion(comparison: &Comparison, explained: &Explained) -> String {
    let finding = &explained.finding;
    let mut text = format!(
        "{} {} -> {} ({}): ",
        finding.rule.name,
        endpoint(&finding.src),
        endpoint(&finding.dst),
        comparison.names[explained.point]
    );
    if explained.lost.is_empty() {
        text.push_str("nothing of it was lost between the two points");
    }
    let parts: Vec<String> = explained
        .lost
        .iter()
        .map(|group| {
            format!(
                "{}'s {} {} passed {} and never reached {}",
                address(&group.src.addr),
                group.count,
                group.kind,
                comparison.names[group.seen_at],
                comparison.names[1 - group.seen_at]
            )
        })
        .collect();
    text.push_str(&parts.join("; "));
    text
}
