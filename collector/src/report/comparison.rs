//! The comparison of two captures, files or interfaces, as text and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::time::rfc3339;
use super::values::address;
use super::{en, say};
use crate::compare::{Comparison, Group};
use crate::lang::{Lang, Said, pad, said};

/// As many losses are told to people.
const TOLD: usize = 20;

/// The block for people.
#[must_use]
pub fn block(comparison: &Comparison, lang: Lang) -> String {
    let mut text = say!(lang, comparison::title(comparison));
    text.push('\n');
    let mut line = |label: Said, rest: String| {
        let _ = writeln!(text, "  {}{rest}", pad(label.to(lang), 13));
    };
    let lost = said("lost", "丢失");
    match &comparison.watched {
        None => {
            line(said("clocks", "时钟"), say!(lang, comparison::clocks(comparison)));
            line(said("drift", "漂移"), say!(lang, comparison::drift(comparison)));
        }
        Some(watched) => {
            line(said("path", "路径"), say!(lang, comparison::path(comparison, watched)));
        }
    }
    line(said("matched", "匹配"), say!(lang, comparison::matched(comparison)));
    line(said("left out", "未比较"), say!(lang, comparison::left_out(comparison)));
    for (name, missed) in comparison.names.iter().zip(comparison.not_captured) {
        if missed > 0 {
            line(said("missed", "漏抓"), say!(lang, comparison::missed(name, missed)));
        }
    }
    if let Some(watched) = &comparison.watched {
        for (point, name) in comparison.names.iter().enumerate() {
            let (of_capture, in_doubt) = (watched.capture_lost[point], watched.in_doubt[point]);
            if of_capture + in_doubt > 0 {
                let doubt = say!(lang, comparison::doubt(name, of_capture, in_doubt));
                line(said("in doubt", "存疑"), doubt);
            }
        }
    }
    if comparison.lost.is_empty() {
        line(lost, said("nothing", "无").to(lang).to_owned());
    }
    for group in comparison.lost.iter().take(TOLD) {
        line(lost, say!(lang, comparison::group(comparison, group)));
    }
    let more = comparison.lost.len().saturating_sub(TOLD) as u64 + comparison.groups_left_out;
    if more > 0 {
        line(said("", ""), say!(lang, comparison::more(more)));
    }
    for explained in &comparison.findings {
        line(said("finding", "发现"), say!(lang, comparison::conclusion(comparison, explained)));
    }
    text.push('\n');
    text
}

/// The object under the key `comparison`.
#[must_use]
pub fn object(comparison: &Comparison) -> Value {
    let Comparison { clock, counts, .. } = comparison;
    let groups = |groups: &[Group]| -> Vec<Value> {
        groups.iter().map(|group| group_object(comparison, group)).collect()
    };
    let origin = if comparison.watched.is_some() { "in_iface" } else { "pcap_filename" };
    let findings: Vec<Value> = comparison
        .findings
        .iter()
        .map(|explained| {
            json!({
                origin: comparison.names[explained.point],
                "signature": explained.finding.rule.name,
                "id": format!("{:016x}", explained.finding.id),
                "summary": en::comparison::conclusion(comparison, explained),
                "lost": groups(&explained.lost),
            })
        })
        .collect();
    let mut object = json!({
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
    });
    match &comparison.watched {
        None => object["files"] = json!(comparison.names),
        Some(watched) => {
            object["interfaces"] = json!(comparison.names);
            object["from"] = json!(rfc3339(watched.from_ns));
            object["later_us"] = json!(watched.later_ns.map(|ns| ns.map(|ns| ns / 1000)));
            object["capture_lost"] = json!(watched.capture_lost);
            object["in_doubt"] = json!(watched.in_doubt);
        }
    }
    object
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
