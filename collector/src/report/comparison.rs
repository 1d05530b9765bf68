//! The comparison of two captures, as text and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::text::{address, endpoint};
use super::time::rfc3339;
use crate::compare::{Comparison, Explained, Group};

/// The block for people.
#[must_use]
pub fn block(comparison: &Comparison) -> String {
    let Comparison { names: [first, second], clock, counts, .. } = comparison;
    let mut text = format!("comparison of {first} and {second}\n");
    let mut line = |label: &str, rest: String| {
        let _ = writeln!(text, "  {label:<13}{rest}");
    };
    let (sign, offset) = if clock.offset_ns < 0 { ("behind", "-") } else { ("ahead of", "+") };
    let seconds = clock.offset_ns.unsigned_abs() as f64 / 1e9;
    let path = clock.path_ns.map_or_else(
        || "one direction alone was seen: what the path takes is part of it".to_owned(),
        |path_ns| format!("the path between takes {:.3} ms", path_ns as f64 / 1e6),
    );
    line("clocks", format!("{second} is {sign} {first} by {seconds:.6} s ({offset}); {path}"));
    line("drift", drift(comparison));
    line("matched", format!("{} segments in both", counts.matched));
    line(
        "left out",
        format!(
            "{} outside of the time that both cover, {} between addresses that one capture has \
             nothing of, {} copies, {} not compared, {} not kept{}",
            counts.outside,
            counts.elsewhere,
            counts.copies,
            counts.not_compared,
            counts.not_kept,
            if comparison.data_left_out {
                "; data: merged or split between the points"
            } else {
                ""
            }
        ),
    );
    for (name, missed) in comparison.names.iter().zip(comparison.not_captured) {
        if missed > 0 {
            line("missed", format!("{missed} segments that passed were not captured in {name}"));
        }
    }
    if comparison.lost.is_empty() {
        line("lost", "nothing".to_owned());
    }
    for group in comparison.lost.iter().take(20) {
        line("lost", sentence(comparison, group));
    }
    let more = comparison.lost.len().saturating_sub(20) as u64 + comparison.groups_left_out;
    if more > 0 {
        line("", format!("and {more} more kinds and tuples"));
    }
    for explained in &comparison.findings {
        line("finding", conclusion(comparison, explained));
    }
    text.push('\n');
    text
}

fn drift(comparison: &Comparison) -> String {
    match comparison.clock.drift_ppb {
        Some(ppb) => format!("{:+.3} ppm", ppb / 1000.0),
        None => "not told: fewer than 64 segments in common, or less than 10 s".to_owned(),
    }
}

/// "10.0.0.2's 6 ACK to 10.0.0.1:40000 left server.pcap and never reached f5.pcap".
fn sentence(comparison: &Comparison, group: &Group) -> String {
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
fn conclusion(comparison: &Comparison, explained: &Explained) -> String {
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

/// The object under the key `comparison`.
#[must_use]
pub fn object(comparison: &Comparison) -> Value {
    let Comparison { clock, counts, .. } = comparison;
    let groups = |groups: &[Group]| -> Vec<Value> {
        groups.iter().map(|group| group_object(comparison, group)).collect()
    };
    let findings: Vec<Value> = comparison
        .findings
        .iter()
        .map(|explained| {
            json!({
                "pcap_filename": comparison.names[explained.point],
                "signature": explained.finding.rule.name,
                "id": format!("{:016x}", explained.finding.id),
                "summary": conclusion(comparison, explained),
                "lost": groups(&explained.lost),
            })
        })
        .collect();
    json!({
        "files": comparison.names,
        "offset_us": clock.offset_ns / 1000,
        "drift_ppb": clock.drift_ppb.map(|ppb| ppb.round() as i64),
        "path_us": clock.path_ns.map(|ns| ns / 1000),
        "spread_us": clock.spread_ns / 1000,
        "matched": counts.matched,
        "copies": counts.copies,
        "outside": counts.outside,
        "elsewhere": counts.elsewhere,
        "not_compared": counts.not_compared,
        "not_kept": counts.not_kept + comparison.groups_left_out,
        "not_captured": comparison.not_captured,
        "data_left_out": comparison.data_left_out,
        "lost": groups(&comparison.lost),
        "findings": findings,
    })
}

fn group_object(comparison: &Comparison, group: &Group) -> Value {
    json!({
        "src_ip": address(&group.src.addr),
        "src_port": group.src.port,
        "dest_ip": address(&group.dst.addr),
        "dest_port": group.dst.port,
        "kind": group.kind,
        "count": group.count,
        "seen_in": comparison.names[group.seen_at],
        "missing_in": comparison.names[1 - group.seen_at],
        "first": rfc3339(group.span_ns.0),
        "last": rfc3339(group.span_ns.1),
    })
}
