//! The field cases in the lab, with the sensor live on the mirror port: the rules that a case is
//! about must fire, no other of severity 1 or 2 may, and once the advised setting has been applied
//! nothing more may fire. What kernels and HAProxy did is asserted by the lab itself. Besides, each case is
//! recorded: what `--select control` leaves out of it must change no finding.
//!
//! `XDPWATCH_LONG=1` plays them with the notes' own numbers: a minute or two each.
#![cfg(feature = "xdp")]

mod common;

use std::path::Path;

use clap::Parser;
use common::lab::{Recording, Sensor, can_run};
use common::trace::Trace;
use serde_json::Value;
use xdpwatch::args::Args;
use xdpwatch::report::time::rfc3339;
use xdpwatch::worker::Detection;
use xdpwatch_core::watch::Config;
use xdpwatch_tools::lab::case::{CASES, Pace};
use xdpwatch_tools::lab::network::Network;

/// Something that must hold of an alert.
type Holds = fn(&Value) -> bool;

/// What a case must make the sensor say.
struct Expected {
    case: &'static str,
    /// Rules that fire before the cure, and not after it.
    rules: &'static [&'static str],
    /// Rules, with a cause or without, that may fire before the cure because what they say is true then, too.
    also_true: &'static [&'static str],
    /// What must hold of at least one alert of a rule.
    says: &'static [(&'static str, Holds)],
}

const EXPECTED: [Expected; 9] = [
    Expected {
        case: "short-connections",
        rules: &["churn"],
        // The client's kernel has 1000 ports to choose of, and HAProxy's holds them all.
        also_true: &["port_pressure"],
        says: &[("churn", |alert| alert["churn"]["closes_first"] == "server")],
    },
    Expected {
        case: "port-pressure",
        rules: &["port_pressure", "tuple_reuse"],
        also_true: &[],
        says: &[
            ("port_pressure", |alert| alert["port_pressure"]["sources_needed"].as_u64() > Some(1)),
            ("tuple_reuse", |alert| alert["alert"]["category"] == "sequence"),
            ("tuple_reuse", |alert| alert["tuple_reuse"]["outcome"] == "recovered"),
        ],
    },
    Expected {
        case: "client-ports",
        rules: &["port_pressure"],
        also_true: &[],
        says: &[("port_pressure", |alert| alert["alert"]["severity"] == 1)],
    },
    Expected {
        case: "mixed-clocks",
        rules: &["mixed_clocks", "tuple_reuse"],
        also_true: &[],
        says: &[
            ("mixed_clocks", |alert| {
                let mixed = &alert["mixed_clocks"];
                mixed["source"] == "10.83.2.200" && mixed["clocks"] == 3
            }),
            ("mixed_clocks", |alert| alert["alert"]["severity"] == 2),
            ("tuple_reuse", |alert| alert["alert"]["category"] == "paws"),
        ],
    },
    Expected {
        case: "half-closed",
        rules: &["half_closed"],
        also_true: &[],
        says: &[("half_closed", |alert| alert["half_closed"]["other_leg"].is_object())],
    },
    Expected {
        case: "reload",
        rules: &["half_closed", "listener_gap"],
        // Ports may come again in the gap: without a listener the TIME-WAIT socket answers.
        also_true: &["tuple_reuse listener_gone"],
        says: &[
            ("listener_gap", |alert| alert["listener_gap"]["kind"] == "handshake"),
            ("listener_gap", |alert| alert["listener_gap"]["kind"] != "handshake"),
        ],
    },
    Expected {
        case: "listener-gap",
        rules: &["listener_gap"],
        // Ports may come again in the gap: without a listener the TIME-WAIT socket answers.
        also_true: &["tuple_reuse listener_gone"],
        says: &[("listener_gap", |alert| {
            let window_ms = alert["listener_gap"]["window_ms"].as_u64();
            window_ms.is_some_and(|ms| (250..=500).contains(&ms))
        })],
    },
    Expected {
        case: "fin-unacknowledged",
        rules: &["fin_unacknowledged"],
        also_true: &[],
        says: &[("fin_unacknowledged", |alert| alert["fin_unacknowledged"]["closer"] == "server")],
    },
    Expected { case: "quiet", rules: &[], also_true: &[], says: &[] },
];

/// Plays a case under a sensor and holds what that says against the table. The alerts.
#[track_caller]
fn check(name: &str) -> Vec<Value> {
    let case = CASES.iter().find(|case| case.name == name).expect("a case of the lab");
    let expected = EXPECTED.iter().find(|expected| expected.case == name).expect("a row");
    if !can_run(name) {
        return Vec::new();
    }
    let long = std::env::var_os("XDPWATCH_LONG").is_some();
    let prefix = format!("xwc{}-{}", std::process::id(), &name[..2]);
    let network = Network::build(&prefix, case.topology).expect("the lab is built");
    let recorded = tempfile::NamedTempFile::new().expect("a file");
    let recording = Recording::start(&network, recorded.path());
    let sensor = Sensor::start(&network, case.sensor);
    let pace = if long { Pace::Note } else { Pace::Short };
    let played = (case.play)(&network, pace).expect("the case plays as meant");
    played.did.iter().for_each(|sentence| println!("{sentence}"));
    let (events, _) = sensor.stop();
    recording.stop();
    selects_enough(case.sensor, recorded.path());
    let alerts: Vec<Value> = events.into_iter().map(|event| event.json).collect();
    hold(expected, &alerts, &rfc3339(played.cured_ns));
    alerts
}

/// The findings in all that was recorded are those in what the program selects of it.
#[track_caller]
fn selects_enough(flags: &[&str], recorded: &Path) {
    let args = ["xdpwatch", "--iface", "mirror0"].iter().chain(flags);
    let detection = Detection::of(&Args::try_parse_from(args).expect("flags"), [0; 4]);
    let config = Config { carries_data: true, hosts: detection.hosts, ..Config::default() };
    let mut trace = Trace::new(config, detection.limits);
    trace.add_capture(recorded);
    let (all, control) = (trace.findings(true), trace.findings(false));
    let (segments, left_out) = (trace.records.len(), trace.left_out());
    println!("{segments} segments, {left_out} not selected, {} findings", all.len());
    assert!(segments > 100, "hardly anything recorded");
    for (one, other) in all.iter().zip(&control) {
        assert_eq!(one, other, "the first finding that needs data");
    }
    assert_eq!(all.len(), control.len(), "findings with data segments and without");
}

/// Times as events write them are in the order of their text.
#[track_caller]
fn hold(expected: &Expected, alerts: &[Value], cured: &str) {
    let of = |alert: &Value, rule: &str| alert["alert"]["signature"] == rule;
    let is_grave = |alert: &Value| alert["alert"]["severity"].as_u64() <= Some(2);
    let is_firing = |alert: &Value| alert["alert"]["state"] == "firing";
    let is_late = |alert: &Value| alert["timestamp"].as_str() > Some(cured);
    let early = |alert: &&Value| expected.rules.is_empty() || !is_late(alert);

    for rule in expected.rules {
        let fired = alerts.iter().filter(early).any(|alert| of(alert, rule) && is_firing(alert));
        assert!(fired, "{rule} did not fire; what did: {}", names(alerts));
    }
    for (rule, says) in expected.says {
        let told = alerts.iter().filter(|alert| of(alert, rule)).any(says);
        assert!(told, "no {rule} says what it must: {alerts:#?}");
    }
    let known = |alert: &&Value| {
        expected.rules.iter().chain(expected.also_true).any(|what| match what.split_once(' ') {
            Some((rule, cause)) => of(alert, rule) && alert["alert"]["category"] == cause,
            None => of(alert, what),
        })
    };
    let others = alerts.iter().filter(|alert| is_grave(alert) && !known(alert));
    assert_none("fired besides", others);
    let fires_again = |alert: &&Value| {
        let expected = expected.rules.iter().any(|rule| of(alert, rule));
        is_firing(alert) && is_late(alert) && (is_grave(alert) || expected)
    };
    let again = alerts.iter().filter(|_| !expected.rules.is_empty()).filter(fires_again);
    assert_none("fired after the cure", again);
}

#[track_caller]
fn assert_none<'a>(what: &str, alerts: impl Iterator<Item = &'a Value>) {
    let alerts: Vec<&Value> = alerts.collect();
    if let Some(first) = alerts.first() {
        panic!("{} alerts {what}; the first: {first:#}", alerts.len());
    }
}

fn names(alerts: &[Value]) -> String {
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for alert in alerts {
        let key = format!("{} {}", alert["alert"]["signature"], alert["alert"]["state"]);
        *counts.entry(key).or_default() += 1;
    }
    format!("{counts:?}")
}

#[test]
fn every_case_has_a_row() {
    let rows: Vec<&str> = EXPECTED.iter().map(|expected| expected.case).collect();
    let cases: Vec<&str> = CASES.iter().map(|case| case.name).collect();
    assert_eq!(rows, cases);
}

#[test]
fn short_connections() {
    check("short-connections");
}

#[test]
fn port_pressure() {
    let alerts = check("port-pressure");
    let first = |rule| alerts.iter().position(|alert| alert["alert"]["signature"] == rule);
    assert!(first("port_pressure") <= first("tuple_reuse"), "it was not said before");
}

#[test]
fn client_ports() {
    check("client-ports");
}

#[test]
fn mixed_clocks() {
    let alerts = check("mixed-clocks");
    let severities: Vec<&Value> = alerts
        .iter()
        .filter(|alert| alert["alert"]["signature"] == "mixed_clocks")
        .map(|alert| &alert["alert"]["severity"])
        .collect();
    assert!(severities.is_sorted_by_key(|one| std::cmp::Reverse(one.as_u64())), "{severities:?}");
}

#[test]
fn half_closed() {
    check("half-closed");
}

#[test]
fn reload() {
    check("reload");
}

#[test]
fn listener_gap() {
    check("listener-gap");
}

#[test]
fn fin_unacknowledged() {
    check("fin-unacknowledged");
}

#[test]
fn quiet() {
    check("quiet");
}
