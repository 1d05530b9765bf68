//! Events as JSON lines (NDJSON), shaped like Suricata's EVE. The schema beside this file is the
//! contract; a test holds every event against it.

use std::io::{self, Write};

use serde_json::{Map, Value, json};
use xdpwatch_core::finding::{About, Evidence, Fact, Finding, State};
use xdpwatch_core::group::Change;

use super::advice::advice;
use super::community_id::community_id;
use super::time::rfc3339;
use super::{Context, Occasion, Origin, Reporter, text};
use crate::evidence::store::file_name;
use crate::stats::Stats;

/// The JSON Schema of every event.
pub const SCHEMA: &str = include_str!("schema.json");

/// One JSON object per line.
#[derive(Debug)]
pub struct Json<W> {
    out: W,
}

impl<W: Write> Json<W> {
    /// Lines to `out`.
    pub fn new(out: W) -> Self {
        Self { out }
    }

    fn line(&mut self, event: &Map<String, Value>) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, event)?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }
}

impl<W: Write> Reporter for Json<W> {
    fn finding(
        &mut self,
        context: &Context,
        finding: &Finding,
        group_id: u64,
        utc_offset_ns: i64,
    ) -> io::Result<()> {
        self.line(&alert(context, finding, group_id, utc_offset_ns))
    }

    /// Lines are of findings; each names its group.
    fn group(&mut self, _: &Context, _: &Change<'_>, _: i64) -> io::Result<()> {
        Ok(())
    }

    fn statistics(
        &mut self,
        context: &Context,
        stats: &Stats,
        occasion: Occasion,
    ) -> io::Result<()> {
        self.line(&statistics(context, stats, occasion))
    }

    fn show(&mut self, _: &Context, _: &Stats, _: Option<String>) {}
}

/// Statistics as an event.
#[must_use]
pub fn statistics(context: &Context, stats: &Stats, occasion: Occasion) -> Map<String, Value> {
    let mut event = envelope(context, "stats", stats.at_ns);
    let mut groups: Map<String, Value> = Map::new();
    groups.insert("occasion".to_owned(), json!(occasion.word()));
    stats.each(&mut |group, name, value| {
        let group = groups.entry(group).or_insert_with(|| json!({}));
        group[name] = json!(value);
    });
    event.insert("stats".to_owned(), Value::Object(groups));
    event
}

/// The keys that every event begins with.
fn envelope(context: &Context, event_type: &str, at_ns: u64) -> Map<String, Value> {
    let mut event = Map::new();
    let mut set = |key: &str, value: Value| event.insert(key.to_owned(), value);
    set("timestamp", json!(rfc3339(at_ns)));
    set("event_type", json!(event_type));
    set("sensor", json!(context.sensor));
    match &context.origin {
        Origin::Interface(name) => set("in_iface", json!(name)),
        Origin::File(name) => set("pcap_filename", json!(name)),
    };
    event
}

/// A finding as an alert event.
#[must_use]
pub fn alert(
    context: &Context,
    finding: &Finding,
    group_id: u64,
    utc_offset_ns: i64,
) -> Map<String, Value> {
    let at_ns = finding.at_ns.saturating_add_signed(utc_offset_ns);
    let mut event = envelope(context, "alert", at_ns);
    let mut set = |key: &str, value: Value| event.insert(key.to_owned(), value);
    if finding.about == About::Connection {
        connection(finding, &mut set);
    }
    set("alert", alert_object(finding, group_id));
    set(finding.rule.name, facts(finding, utc_offset_ns));
    event
}

/// The keys that only events about one connection have.
fn connection(finding: &Finding, set: &mut impl FnMut(&str, Value) -> Option<Value>) {
    set("src_ip", json!(text::address(&finding.src.addr)));
    set("src_port", json!(finding.src.port));
    set("dest_ip", json!(text::address(&finding.dst.addr)));
    set("dest_port", json!(finding.dst.port));
    set("proto", json!("TCP"));
    if !finding.vlans.is_empty() {
        set("vlan", json!(finding.vlans.as_slice()));
    }
    if finding.vni != 0 {
        set("vni", json!(finding.vni));
    }
    set("community_id", json!(community_id(&finding.src, &finding.dst)));
    set("flow_id", json!(finding.flow_id));
}

/// An id as it is printed.
#[must_use]
pub fn hex(id: u64) -> String {
    format!("{id:016x}")
}

/// The contract's word for a state.
#[must_use]
pub fn state_name(state: State) -> &'static str {
    match state {
        State::Firing => "firing",
        State::Resolved => "resolved",
    }
}

fn alert_object(finding: &Finding, group_id: u64) -> Value {
    let advice: Vec<Value> = advice(finding)
        .into_iter()
        .map(|a| json!({ "component": a.component, "setting": a.setting, "why": a.why }))
        .collect();
    let mut object = json!({
        "signature": finding.rule.name,
        "signature_id": finding.rule.id,
        "category": finding.cause,
        "severity": finding.severity,
        "state": state_name(finding.state),
        "id": hex(finding.id),
        "group": { "id": hex(group_id) },
        "confidence": f64::from(finding.confidence.percent) / 100.0,
        "confidence_reasons": finding.confidence.reasons.as_slice(),
        "summary": text::summary(finding),
        "advice": advice,
    });
    if let Some(evidence) = finding.evidence {
        object["evidence"] = json!(file_name(finding.id));
        object["evidence_complete"] = json!(evidence == Evidence::Seen);
    }
    object
}

/// Labelled facts as an object; dots in a label make objects within it.
fn facts(finding: &Finding, utc_offset_ns: i64) -> Value {
    let mut object = json!({});
    for (label, fact) in &finding.facts {
        let place = label.split('.').fold(&mut object, |place, key| &mut place[key]);
        *place = value(*fact, utc_offset_ns);
    }
    object
}

fn value(fact: Fact, utc_offset_ns: i64) -> Value {
    match fact {
        Fact::Unknown => Value::Null,
        Fact::Flag(flag) => json!(flag),
        Fact::Number(number) => json!(number),
        Fact::Word(word) => json!(word),
        Fact::Address(addr) => json!(text::address(&addr)),
        Fact::Id(id) => json!(id),
        Fact::Time(at_ns) => json!(rfc3339(at_ns.saturating_add_signed(utc_offset_ns))),
    }
}
