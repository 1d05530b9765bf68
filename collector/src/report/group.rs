//! Groups: their sentence, their block of text, their event. A group's event is that of its worst
//! finding, with the group's state, severity and cause, and all else about it in `alert.group`.

use serde_json::{Map, Value, json};
use xdpwatch_core::finding::{Endpoint, NO_END};
use xdpwatch_core::group::tally::Example;
use xdpwatch_core::group::{Change, Group};

use super::json::{alert, hex, state_name};
use super::text::{
    CAUSE, GROUP, SEVERITY, WHAT, details, line, state_word, summary as finding_summary,
};
use super::time::rfc3339;
use super::values::{address, endpoint, time};
use super::{Context, say};
use crate::lang::{Lang, Said, said};

/// What happened, in one sentence.
#[must_use]
pub fn summary(change: &Change<'_>, lang: Lang) -> String {
    match change.group.tally.count {
        0 | 1 => finding_summary(&change.group.tally.example, lang),
        _ => say!(lang, groups::summary(change)),
    }
}

/// The service as address and port; `None` if they are several.
#[must_use]
pub fn service(group: &Group) -> Option<String> {
    group.service.as_ref().map(endpoint)
}

/// The source pool as a prefix; `None` if they are several.
#[must_use]
pub fn pool(group: &Group) -> Option<String> {
    group.pool.map(|pool| format!("{}/{}", address(&pool.addr), pool.prefix))
}

/// The block of a group of several findings.
#[must_use]
pub fn block(context: &Context, change: &Change<'_>, utc_offset_ns: i64, lang: Lang) -> String {
    let Change { at_ns, state, has_news, group } = change;
    let time = |at_ns: u64| time(at_ns, utc_offset_ns);
    let tally = &group.tally;
    let mut text = format!(
        "{}  {}  {}  {} {}  {} {}  [{}]  {} {}  {} {}\n",
        time(*at_ns),
        state_word(*state, lang),
        group.rule.name,
        SEVERITY.to(lang),
        tally.severity,
        CAUSE.to(lang),
        tally.cause().0,
        context.name(),
        GROUP.to(lang),
        hex(group.id),
        said("revision", "第几版").to(lang),
        group.revision,
    );
    let mut line = |label: Said, rest: String| line(&mut text, label.to(lang), &rest);
    line(WHAT, summary(change, lang));
    let (first, last) = (time(group.first_ns), time(group.last_ns));
    line(said("when", "时间"), say!(lang, groups::span(&first, &last)));
    if !has_news {
        text.push('\n');
        return text;
    }
    for (n, worst) in tally.worst.iter().enumerate() {
        let label = if n == 0 { said("worst", "最重") } else { said("", "") };
        line(label, example_line(worst, lang));
    }
    let clients = tally.clients();
    let clients = clients.iter().map(|(addr, count)| format!("{} ({count})", address(addr)));
    line(said("clients", "客户端"), clients.collect::<Vec<_>>().join(", "));
    details(&mut text, said("example", "例子"), &tally.example, utc_offset_ns, lang);
    text.push('\n');
    text
}

fn example_line(example: &Example, lang: Lang) -> String {
    let (src, dst) = (endpoint(&example.src), endpoint(&example.dst));
    format!("{src} -> {dst}  {}  id {}", say!(lang, groups::example(example)), hex(example.id))
}

/// The event of a group.
#[must_use]
pub fn event(context: &Context, change: &Change<'_>, utc_offset_ns: i64) -> Map<String, Value> {
    let Group { tally, .. } = change.group;
    let mut event = alert(context, &tally.example, change.group.id, utc_offset_ns);
    let at_ns = change.at_ns.saturating_add_signed(utc_offset_ns);
    event.insert("timestamp".to_owned(), json!(rfc3339(at_ns)));
    let alert = &mut event["alert"];
    alert["id"] = json!(hex(change.group.id));
    alert["state"] = json!(state_name(change.state));
    alert["severity"] = json!(tally.severity);
    alert["category"] = json!(tally.cause().0);
    alert["summary"] = json!(summary(change, Lang::En));
    alert["group"] = object(change.group, utc_offset_ns);
    event
}

/// An end's address, null where there is none.
fn ip(end: &Endpoint) -> Value {
    if *end == NO_END { Value::Null } else { json!(address(&end.addr)) }
}

fn object(group: &Group, utc_offset_ns: i64) -> Value {
    let time = |at_ns: u64| rfc3339(at_ns.saturating_add_signed(utc_offset_ns));
    let tally = &group.tally;
    let worst: Vec<Value> = tally
        .worst
        .iter()
        .map(|worst| {
            json!({
                "id": hex(worst.id),
                "began": time(worst.began_ns),
                "src_ip": ip(&worst.src),
                "src_port": worst.src.port,
                "dest_ip": ip(&worst.dst),
                "dest_port": worst.dst.port,
                "cause": worst.cause,
                "severity": worst.severity,
                "state": state_name(worst.state),
                "stall_ms": worst.stall_ms,
            })
        })
        .collect();
    let clients: Vec<Value> = tally
        .clients()
        .iter()
        .map(|(addr, count)| json!({ "ip": address(addr), "count": count }))
        .collect();
    json!({
        "id": hex(group.id),
        "key": hex(group.key),
        "revision": group.revision,
        "service": service(group),
        "source_pool": pool(group),
        "first": time(group.first_ns),
        "last": time(group.last_ns),
        "count": tally.count,
        "open": tally.open,
        "cause_count": tally.cause().1,
        "worst": worst,
        "clients": clients,
    })
}
