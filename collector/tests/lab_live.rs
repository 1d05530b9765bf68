//! The sensor live on the lab's mirror port: what it says of each scenario against what the kernels
//! did. A PAWS collision must be reported within 1.5 s of the first refused SYN, and harmless reuse
//! must raise nothing.
//!
//! `XDPWATCH_LAB_RUNS` sets how often the pair is played (2 unless set); `XDPWATCH_LONG=1` adds the
//! published note's own timing.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use xdpwatch_tools::judge::sys::is_root;
use xdpwatch_tools::lab::Lab;
use xdpwatch_tools::lab::network::MIRROR;
use xdpwatch_tools::lab::scenario::{Played, Scenario, Timing};

/// An alert must be out this soon after the first refused SYN.
const PROMPT: Duration = Duration::from_millis(1500);

/// An event, and when its line came out of the sensor.
struct Event {
    json: Value,
    at_ns: u64,
}

/// A sensor running on the lab's mirror port.
struct Sensor {
    child: Child,
    events: Receiver<Event>,
}

impl Sensor {
    fn start(lab: &Lab) -> Self {
        let namespace = lab.network.namespace("sensor");
        let mut child = Command::new("ip")
            .args(["netns", "exec", &namespace, env!("CARGO_BIN_EXE_xdpwatch")])
            .args(["--iface", MIRROR, "--json", "--sensor", "lab"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the sensor starts");
        let stdout = child.stdout.take().expect("standard output is a pipe");
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let json = serde_json::from_str(&line).expect("a line is JSON");
                if sender.send(Event { json, at_ns: now_ns() }).is_err() {
                    return;
                }
            }
        });
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_attached(&namespace) {
            assert!(Instant::now() < deadline, "the sensor did not attach");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, events }
    }

    /// Ends it; everything it said.
    fn stop(mut self) -> Vec<Event> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(sent.success(), "the sensor had ended before");
        let status = self.child.wait().expect("the sensor ends");
        assert!(status.success(), "{status}");
        self.events.iter().collect()
    }
}

fn is_attached(namespace: &str) -> bool {
    let link = Command::new("ip")
        .args(["-n", namespace, "link", "show", MIRROR])
        .output()
        .expect("ip runs");
    String::from_utf8_lossy(&link.stdout).contains("xdp")
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock past 1970");
    u64::try_from(since.as_nanos()).expect("a clock before 2554")
}

fn lab(name: &str) -> Option<Lab> {
    if !is_root() {
        println!("SKIPPED: {name}: needs root (network namespaces, XDP)");
        return None;
    }
    Some(Lab::start(&format!("xwt{}", std::process::id())).expect("the lab starts"))
}

/// Plays a scenario under a sensor of its own. Alerts on the server's leg come first in the pair.
fn play(lab: &Lab, scenario: Scenario, timing: Timing) -> (Vec<Event>, Played) {
    let sensor = Sensor::start(lab);
    let played = lab.play(scenario, timing).expect("the scenario plays as meant");
    let events = sensor.stop();
    let stats = events.last().expect("statistics at the end");
    let lost = ["rx_ring_full", "rx_dropped", "handoff_lost", "aggregator_lost", "reporter_lost"];
    for place in lost {
        assert_eq!(stats.json["stats"]["capture"][place], 0, "lost: {}", stats.json);
    }
    let alerts = events.into_iter().filter(|event| event.json["event_type"] == "alert").collect();
    (alerts, played)
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
