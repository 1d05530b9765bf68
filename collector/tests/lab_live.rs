//! The sensor live on the lab's mirror port: what it says of each scenario against what the kernels
//! did. A PAWS collision must be reported within 1.5 s of the first refused SYN, and harmless reuse
//! must raise nothing.
//!
//! `XDPWATCH_LAB_RUNS` sets how often the pair is played (2 unless set); `XDPWATCH_LONG=1` adds the
//! published note's own timing.
#![cfg(feature = "xdp")]

mod common;

use std::time::Duration;

use common::lab::{Event, Sensor, can_run};
use serde_json::Value;
use xdpwatch_tools::lab::Lab;
use xdpwatch_tools::lab::scenario::{Played, Scenario, Timing};

/// An alert must be out this soon after the first refused SYN.
const PROMPT: Duration = Duration::from_millis(1500);

fn lab(name: &str) -> Option<Lab> {
    let start = || Lab::start(&format!("xwt{}", std::process::id())).expect("the lab starts");
    can_run(name).then(start)
}

/// The balancer's roles as the lab has built it, and none besides.
#[track_caller]
fn assert_roles(stats: &Value) {
    let [balancer] = &stats["balancers"].as_array().expect("a balancer")[..] else {
        panic!("one balanced service: {}", stats["balancers"])
    };
    let ends = |members: &Value| -> Vec<Value> {
        members.as_array().expect("an array").iter().map(|member| member["ip"].clone()).collect()
    };
    assert_eq!(balancer["vip"]["ip"], "10.24.20.51");
    assert_eq!(ends(&balancer["source_nat"]), ["10.24.20.249"], "{balancer}");
    assert_eq!(ends(&balancer["servers"]), ["10.24.20.26"], "{balancer}");
}

/// Plays a scenario under a sensor of its own; what it says of roles must be so.
fn play(lab: &Lab, scenario: Scenario, timing: Timing) -> (Vec<Event>, Played) {
    let sensor = Sensor::start(&lab.network, &[]);
    let played = lab.play(scenario, timing).expect("the scenario plays as meant");
    let (events, stats) = sensor.stop();
    assert_roles(&stats);
    (events, played)
}

/// What the sensor says must be what the kernels did.
#[track_caller]
fn assert_agrees(alerts: &[Event], played: &Played, cause: &str) {
    let firing = &alerts.first().expect("an alert").json;
    let last = &alerts.last().expect("an alert").json;
    assert_eq!(alerts.len(), 2, "firing, then resolved: {last:#}");
    for alert in [firing, last] {
        assert_eq!(alert["alert"]["category"], cause, "{alert:#}");
        let detail = &alert["tuple_reuse"];
        assert_eq!(alert["src_ip"], "10.24.20.249");
        assert_eq!(alert["src_port"], played.port);
        assert_eq!(detail["isn_delta"], played.isn_delta);
        assert_eq!(detail["ts_delta"], Value::from(played.ts_delta));
        assert_eq!(detail["model_contradicted"], false);
        assert_eq!(detail["legs"]["new"]["src_ip"], "10.24.18.14", "the hurt client");
    }
    let detail = &last["tuple_reuse"];
    assert_eq!(detail["syn_count"], played.syns);
    assert_eq!(detail["answers"], played.challenge_acks);
    let outcome = if played.connected { "recovered" } else { "failed" };
    assert_eq!(detail["outcome"], outcome);
    assert_eq!(firing["alert"]["state"], "firing");
    assert_eq!(last["alert"]["state"], "resolved");
}

fn promptness(alerts: &[Event], played: &Played) -> Duration {
    let fired = alerts.first().expect("an alert");
    Duration::from_nanos(fired.at_ns.saturating_sub(played.syn_ns))
}

#[test]
fn paws_is_told_at_once_and_harmless_reuse_is_not_told() {
    let Some(lab) = lab("paws_is_told_at_once_and_harmless_reuse_is_not_told") else { return };
    let runs = std::env::var("XDPWATCH_LAB_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    // Ends soon after the alert: no need to watch a client give up.
    let timing = Timing { patience: Duration::from_millis(1600), ..Timing::SHORT };
    for run in 1..=runs {
        let (alerts, played) = play(&lab, Scenario::Harmless, timing);
        assert!(played.connected);
        assert!(alerts.is_empty(), "run {run}: {:#}", alerts[0].json);

        let (alerts, played) = play(&lab, Scenario::Paws, timing);
        assert_agrees(&alerts, &played, "paws");
        let took = promptness(&alerts, &played);
        assert!(took <= PROMPT, "run {run}: told after {took:?}");
        println!("run {run} of {runs}: told {took:?} after the refused SYN; harmless: nothing");
    }
}

#[test]
fn every_other_scenario_is_told_as_the_kernels_did_it() {
    let Some(lab) = lab("every_other_scenario_is_told_as_the_kernels_did_it") else { return };
    for (scenario, cause) in [
        (Scenario::PawsHeals, "paws"),
        (Scenario::Sequence, "sequence"),
        (Scenario::FinWait2, "fin_wait2"),
        (Scenario::InUse, "in_use"),
    ] {
        let (alerts, played) = play(&lab, scenario, Timing::SHORT);
        assert_agrees(&alerts, &played, cause);
    }
}

#[test]
fn the_notes_own_timing() {
    if std::env::var_os("XDPWATCH_LONG").is_none() {
        println!("SKIPPED: the_notes_own_timing: takes two minutes; run tools/test --long");
        return;
    }
    let Some(lab) = lab("the_notes_own_timing") else { return };
    let (alerts, played) = play(&lab, Scenario::Paws, Timing::NOTE);
    assert_agrees(&alerts, &played, "paws");
    let holder = &alerts[0].json["tuple_reuse"]["holder"];
    let since_ms = holder["since_ms"].as_i64().expect("a number");
    assert!((9_290..9_500).contains(&since_ms), "{since_ms}");
    let idle_ms = holder["idle_before_close_ms"].as_i64().expect("a number");
    assert!((29_990..30_200).contains(&idle_ms), "{idle_ms}");
}
