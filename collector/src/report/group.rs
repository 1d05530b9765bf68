//! Groups: their sentence, their block of text, their event. A group's event is that of its worst
//! finding, with the group's state, severity and cause, and all else about it in `alert.group`.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};
use xdpwatch_core::finding::{Endpoint, NO_END};
use xdpwatch_core::group::tally::Example;
use xdpwatch_core::group::{Change, Group};

use super::Context;
use super::json::{alert, hex, state_name};
use super::text::{address, details, endpoint, seconds_of, state_word, summary as finding_summary};
use super::time::rfc3339;

/// What happened, in one sentence.
#[must_use]
pub fn summary(change: &Change<'_>) -> String {
    let Group { tally, .. } = change.group;
    if tally.count <= 1 {
        return finding_summary(&tally.example);
    }
    let (cause, of_cause) = tally.cause();
    let worst = tally.worst.first().map_or(0, |worst| worst.stall_ms);
    format!(
        "{} findings of {}, {} still open, of clients in {} with {}; most often {cause} ({of_cause}), \
         worst stall {}",
        tally.count,
        change.group.rule.name,
        tally.open,
        pool(change.group),
        service(change.group),
        seconds_of(worst),
    )
}

/// The service as address and port.
#[must_use]
pub fn service(group: &Group) -> String {
    group.service.as_ref().map_or_else(|| "several services".to_owned(), endpoint)
}

/// The source pool as a prefix.
#[must_use]
pub fn pool(group: &Group) -> String {
    let prefix = group.pool.map(|pool| format!("{}/{}", address(&pool.addr), pool.prefix));
    prefix.unwrap_or_else(|| "several networks".to_owned())
}

/// The block of a group of several findings.
#[must_use]
pub fn block(context: &Context, change: &Change<'_>, utc_offset_ns: i64) -> String {
    let Change { at_ns, state, has_news, group } = change;
    let time = |at_ns: u64| rfc3339(at_ns.saturating_add_signed(utc_offset_ns));
    let tally = &group.tally;
    let mut text = format!(
        "{}  {}  {}  severity {}  cause {}  [{}]  group {}  revision {}\n",
        time(*at_ns),
        state_word(*state),
        group.rule.name,
        tally.severity,
        tally.cause().0,
        context.name(),
        hex(group.id),
        group.revision,
    );
    let mut line = |label: &str, rest: String| {
        let _ = writeln!(text, "  {label:<9}{rest}");
    };
    line("what", summary(change));
    line("when", format!("from {} to {}", time(group.first_ns), time(group.last_ns)));
    if !has_news {
        text.push('\n');
        return text;
    }
    for (n, worst) in tally.worst.iter().enumerate() {
        line(if n == 0 { "worst" } else { "" }, example_line(worst));
    }
    let clients = tally.clients();
    let clients = clients.iter().map(|(addr, count)| format!("{} ({count})", address(addr)));
    line("clients", clients.collect::<Vec<_>>().join(", "));
    details(&mut text, "example", &tally.example, utc_offset_ns);
    text.push('\n');
    text
}

fn example_line(example: &Example) -> String {
    format!(
        "{} -> {}  severity {}  {}  {} after {}  id {}",
        endpoint(&example.src),
        endpoint(&example.dst),
        example.severity,
        example.cause,
        state_name(example.state),
        seconds_of(example.stall_ms),
        hex(example.id),
    )
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
    alert["summary"] = json!(summary(change));
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
        "service": group.service.as_ref().map(endpoint),
        "source_pool": group.pool.map(|_| pool(group)),
        "first": time(group.first_ns),
        "last": time(group.last_ns),
        "count": tally.count,
        "open": tally.open,
        "cause_count": tally.cause().1,
        "worst": worst,
        "clients": clients,
    })
}
