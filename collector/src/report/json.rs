//! Events as JSON lines (NDJSON), shaped like Suricata's EVE. The schema beside this file is the
//! contract; a test holds every event against it.

use std::io::{self, Write};

use serde_json::{Map, Value, json};
use xdpwatch_core::census::{Row, STATES};
use xdpwatch_core::finding::{About, Fact, Finding, State};
use xdpwatch_core::grounds::Evidence;
use xdpwatch_core::legs::Balancer;

use super::advice::{Advice, advice};
use super::community_id::community_id;
use super::time::rfc3339;
use super::{Context, Occasion, Origin, Reporter, comparison, interruption, text, values};
use crate::compare::Comparison;
use crate::evidence::store::file_name;
use crate::interruption::Interruption;
use crate::lang::Lang;
use crate::stats::{Live, Stats};

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

/// Lines are of findings; each names its group.
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

    fn statistics(
        &mut self,
        context: &Context,
        stats: Stats,
        occasion: Occasion,
    ) -> io::Result<()> {
        self.line(&statistics(context, &stats, occasion))
    }

    fn interruption(
        &mut self,
        context: &Context,
        interruption: &Interruption,
        utc_offset_ns: i64,
    ) -> io::Result<()> {
        let at_ns = interruption.at_ns.saturating_add_signed(utc_offset_ns);
        let mut event = envelope(context, "capture", at_ns);
        event.insert("capture".to_owned(), interruption::object(interruption));
        self.line(&event)
    }

    fn comparison(&mut self, context: &Context, comparison: &Comparison) -> io::Result<()> {
        let mut event = envelope(context, "comparison", comparison.at_ns);
        event.insert("comparison".to_owned(), comparison::object(comparison));
        self.line(&event)
    }
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
    groups.insert("census".to_owned(), census(&stats.census.services, true));
    groups.insert("census_sources".to_owned(), census(&stats.census.sources, false));
    event.insert("stats".to_owned(), Value::Object(groups));
    if !stats.interfaces.is_empty() {
        let interfaces: Vec<Value> = stats.interfaces.iter().map(interface).collect();
        event.insert("interfaces".to_owned(), json!(interfaces));
    }
    if !stats.balancers.is_empty() {
        let balancers: Vec<Value> = stats.balancers.iter().map(balancer).collect();
        event.insert("balancers".to_owned(), json!(balancers));
    }
    event
}

/// What came in by one of the interfaces.
fn interface((name, live): &(String, Live)) -> Value {
    let mut object = json!({ "iface": name });
    live.each_of_interface(&mut |counter, value| object[counter] = json!(value));
    object
}

/// Who is what behind a balanced service.
fn balancer(balancer: &Balancer) -> Value {
    let pool: Vec<Value> = balancer
        .pool
        .iter()
        .map(|member| {
            json!({
                "ip": values::address(&member.end),
                "connections": member.connections,
                "configured": member.configured,
            })
        })
        .collect();
    let servers: Vec<Value> = balancer
        .servers
        .iter()
        .map(|member| {
            json!({
                "ip": values::address(&member.end.addr),
                "port": member.end.port,
                "connections": member.connections,
                "configured": member.configured,
            })
        })
        .collect();
    json!({
        "vip": { "ip": values::address(&balancer.vip.addr), "port": balancer.vip.port },
        "configured": balancer.configured,
        "joined": balancer.joined,
        "by_numbers": balancer.by_numbers,
        "source_nat": pool,
        "servers": servers,
    })
}

/// Rows of the census: address, with a service's port, and the count of each state.
fn census(rows: &[Row], with_port: bool) -> Value {
    let row = |row: &Row| {
        let mut object = json!({ "ip": values::address(&row.end.addr) });
        if with_port {
            object["port"] = json!(row.end.port);
        }
        if row.realm != 0 {
            object["realm"] = json!(row.realm);
        }
        for (state, count) in STATES.into_iter().zip(row.states) {
            object[state] = json!(count);
        }
        object
    };
    rows.iter().map(row).collect()
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
    set("src_ip", json!(values::address(&finding.src.addr)));
    set("src_port", json!(finding.src.port));
    set("dest_ip", json!(values::address(&finding.dst.addr)));
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
        .map(|advice| {
            let Advice { on, setting, why, .. } = advice;
            json!({ "component": on.said().en, "setting": setting.en, "why": why.en })
        })
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
        "summary": text::summary(finding, Lang::En),
        "advice": advice,
    });
    if let Some(evidence) = finding.evidence {
        object["evidence"] = json!(file_name(finding.id));
        object["evidence_complete"] = json!(evidence == Evidence::Seen);
        object["evidence_kind"] = json!(match evidence {
            Evidence::Seen => "whole",
            Evidence::Rebuilt => "rebuilt",
            Evidence::Part => "part",
        });
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
        Fact::Address(addr) => json!(values::address(&addr)),
        Fact::Id(id) => json!(id),
        Fact::Time(at_ns) => json!(rfc3339(at_ns.saturating_add_signed(utc_offset_ns))),
    }
}
