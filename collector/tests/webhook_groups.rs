//! Groups on their way to hooks: their end after a run that was killed, what filters let through, and a
//! storm that is a handful of messages.
#![cfg(feature = "webhook")]

mod common;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use common::hook::{Answer, GOOD, Request, Server};
use common::{capture, collision, pcap, run, stderr, xdpwatch};
use serde_json::{Value, json};
use xdpwatch::report::{Context, Origin};
use xdpwatch::webhook::config::WebhookConfig;
use xdpwatch::webhook::{Haste, Webhooks};
use xdpwatch_core::detect;
use xdpwatch_core::finding::{About, Confidence, Endpoint, Fact, Facts, Finding, State};
use xdpwatch_core::group::{Config, Groups};

const BEGIN_NS: u64 = 1_700_000_000_000_000_000;

/// A sensor that reads a capture from its standard input, with these hooks.
fn sensor(spool: &Path, hooks: &[(&Server, &str)]) -> Child {
    let secret = spool.join("../secret");
    fs::write(&secret, "0123456789abcdef0123456789abcdef").unwrap();
    let mut command = xdpwatch();
    for (server, format) in hooks {
        command.args(["--webhook", &server.url(), "--webhook-format", format]);
    }
    command
        .args(["--max-tuples", "4096", "--batch", "1", "-r", "-", "--webhook-retry", "20ms"])
        .arg("--webhook-secret-file")
        .arg(secret)
        .arg("--spool-dir")
        .arg(spool)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// A collision that is never resolved by what was seen, then other traffic that brings time forward.
fn unresolved() -> Vec<u8> {
    let mut frames = collision((0x0a00_0001, 40_000), (0xac10_0001, 80), BEGIN_NS);
    frames.truncate(8);
    frames.extend(collision((0x0a00_0002, 40_001), (0xac10_0002, 81), BEGIN_NS + 5_100_000_000));
    frames.truncate(12);
    pcap(&frames, true, false, 1)
}

/// Feeds it a capture that does not end, waits until every server has something, and kills it.
fn kill_while_firing(mut sensor: Child, capture: &[u8], servers: &[&Server]) {
    sensor.stdin.as_mut().unwrap().write_all(capture).unwrap();
    for server in servers {
        server.wait_for("the firing message", |requests| !requests.is_empty());
    }
    sensor.kill().unwrap();
    sensor.wait().unwrap();
}

/// Feeds it a capture to its end; it must end well.
fn finish(mut sensor: Child, capture: &[u8]) {
    sensor.stdin.take().unwrap().write_all(capture).unwrap();
    let code = sensor.wait().unwrap();
    assert!(code.success(), "{code}");
}

fn empty() -> Vec<u8> {
    pcap(&[], true, false, 1)
}

fn states(requests: &[Request]) -> Vec<(String, String)> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let state = |request: &Request| {
        let alert = &request.event()["alert"];
        (word(&alert["state"]), word(&alert["until"]))
    };
    requests.iter().map(state).collect()
}

fn pair(state: &str, until: &str) -> (String, String) {
    (state.to_owned(), until.to_owned())
}

#[test]
fn what_fired_when_the_sensor_was_killed_is_resolved_by_the_next_run() {
    let (standard, pagerduty) = (Server::start(|_| GOOD), Server::start(|_| GOOD));
    let alertmanager = Server::start(|_| GOOD);
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    fs::create_dir(&spool).unwrap();
    let hooks =
        [(&standard, "standard"), (&pagerduty, "pagerduty"), (&alertmanager, "alertmanager")];
    let servers = hooks.map(|(server, _)| server);
    kill_while_firing(sensor(&spool, &hooks), &unresolved(), &servers);
    assert_eq!(states(&standard.taken()), [pair("firing", "")]);

    finish(sensor(&spool, &hooks), &empty());
    let taken = standard.taken();
    assert_eq!(states(&taken), [pair("firing", ""), pair("resolved", "restart")]);
    let (firing, end) = (taken[0].event(), taken[1].event());
    assert_eq!(firing["alert"]["id"], end["alert"]["id"]);
    assert_ne!(taken[0].header("webhook-id"), taken[1].header("webhook-id"));
    let schema = serde_json::from_str(xdpwatch::report::json::SCHEMA).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<_> = validator.iter_errors(&end).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}\n{end:#}");

    let pages: Vec<Value> = pagerduty.taken().iter().map(Request::event).collect();
    let actions: Vec<&Value> = pages.iter().map(|page| &page["event_action"]).collect();
    assert_eq!(actions, ["trigger", "resolve"]);
    assert_eq!(pages[0]["dedup_key"], pages[1]["dedup_key"]);
    let posted: Vec<Value> = alertmanager.taken().iter().map(Request::event).collect();
    assert_eq!(posted.len(), 2);
    assert_eq!(posted[0][0]["labels"], posted[1][0]["labels"]);
    assert!(posted[1][0]["endsAt"].as_str() < posted[0][0]["endsAt"].as_str());

    // It is told once.
    finish(sensor(&spool, &hooks), &empty());
    for server in servers {
        assert_eq!(server.taken().len(), 2);
    }
}

#[test]
fn what_is_read_again_is_taken_up_again() {
    let server = Server::start(|_| GOOD);
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    fs::create_dir(&spool).unwrap();
    let hooks = [(&server, "standard")];
    kill_while_firing(sensor(&spool, &hooks), &unresolved(), &[&server]);
    finish(sensor(&spool, &hooks), &unresolved());
    let taken = server.taken();
    assert_eq!(taken[0].header("webhook-id"), taken[1].header("webhook-id"), "a duplicate");
    let states = states(&taken);
    assert_eq!(states.last(), Some(&pair("resolved", "")), "{states:?}");
    assert!(!states.contains(&pair("resolved", "restart")), "{states:?}");
    assert_eq!(states.iter().filter(|(state, _)| state == "resolved").count(), 1);
}

/// Killed before the other end took anything: its beginning comes first all the same.
#[test]
fn an_end_after_a_restart_never_comes_before_its_beginning() {
    let server = Server::start(|n| if n < 1 { Answer::Hang } else { GOOD });
    let dir = tempfile::tempdir().unwrap();
    let spool = dir.path().join("spool");
    fs::create_dir(&spool).unwrap();
    let hooks = [(&server, "standard")];
    kill_while_firing(sensor(&spool, &hooks), &unresolved(), &[&server]);
    let before = server.taken().len();
    finish(sensor(&spool, &hooks), &empty());
    assert_eq!(before, 0, "killed too late to show anything");
    assert_eq!(states(&server.taken()), [pair("firing", ""), pair("resolved", "restart")]);
}

#[test]
fn a_hook_for_the_worst_hears_the_beginning_of_what_became_worst_at_its_end() {
    let server = Server::start(|_| GOOD);
    let dir = tempfile::tempdir().unwrap();
    let file = capture("server-side.pcap");
    let output = run(&[
        "-r",
        file.to_str().unwrap(),
        "--webhook",
        &server.url(),
        "--webhook-min-severity",
        "1",
        "--spool-dir",
        dir.path().to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let taken = server.taken();
    assert_eq!(states(&taken), [pair("firing", ""), pair("resolved", "")]);
    for request in &taken {
        assert_eq!(request.event()["alert"]["severity"], 1);
    }
    assert_ne!(taken[0].header("webhook-id"), taken[1].header("webhook-id"));
}

/// A finding of this rule about a service, `n` seconds after the beginning.
fn finding(rule: &str, n: u64, service: ([u8; 4], u16), severity: u8, state: State) -> Finding {
    let end = |addr: [u8; 4], port| Endpoint {
        addr: std::net::Ipv4Addr::from(addr).to_ipv6_mapped().octets(),
        port,
    };
    let at_ns = BEGIN_NS + n * 1_000_000_000;
    let mut finding = Finding {
        rule: detect::rule(rule).expect("a rule"),
        state,
        id: n,
        at_ns,
        began_ns: at_ns,
        about: About::Connection,
        src: end([10, 0, 0, 1], 40_000),
        dst: end(service.0, service.1),
        vni: 0,
        vlans: Default::default(),
        flow_id: n,
        cause: "unknown",
        severity,
        confidence: Confidence { percent: 100, reasons: Default::default() },
        facts: Facts::new(),
        grounds: None,
        evidence: None,
    };
    finding.set("stall_ms", Fact::Number(1000));
    finding
}

#[test]
fn filters_choose_groups_by_rule_service_and_severity() {
    let of = |rules: &[&str], services: &[&str], min_severity: Option<u8>| {
        let server = Server::start(|_| GOOD);
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let (url, rules, services) = (server.url(), words(rules), words(services));
        let config = WebhookConfig { url, rules, services, min_severity, ..Default::default() };
        (server, config)
    };
    let (web, ssh) = (([10, 0, 1, 1], 80), ([10, 0, 1, 2], 22));
    let hooks = [
        (of(&[], &[], None), vec!["tuple_reuse web", "connect_stalled web", "tuple_reuse ssh"]),
        (of(&["tuple_reuse"], &[], None), vec!["tuple_reuse web", "tuple_reuse ssh"]),
        (of(&[], &[":22"], None), vec!["tuple_reuse ssh"]),
        (of(&["churn", "tuple_reuse"], &["10.0.1.1"], None), vec!["tuple_reuse web"]),
        (of(&[], &[], Some(2)), vec!["tuple_reuse web", "tuple_reuse ssh"]),
        (of(&[], &[], Some(1)), vec!["tuple_reuse ssh"]),
        (of(&["mirror_fault"], &[], None), vec![]),
    ];
    let configs: Vec<_> = hooks.iter().map(|((_, config), _)| config.clone()).collect();
    let dir = tempfile::tempdir().unwrap();
    let mut webhooks = Webhooks::start(&configs, dir.path(), Haste::Wait).unwrap();
    let context = Context { sensor: "test".to_owned(), origin: Origin::File("f".to_owned()) };
    let mut groups = Groups::new(Config::default(), [1, 2, 3, 4]);
    let mut tell = |change: xdpwatch_core::group::Change<'_>| webhooks.group(&context, &change, 0);
    use State::{Firing, Resolved};
    for one in [
        finding("tuple_reuse", 1, web, 2, Firing),
        finding("connect_stalled", 2, web, 3, Firing),
        finding("tuple_reuse", 3, ssh, 3, Firing),
        finding("tuple_reuse", 1, web, 2, Resolved),
        finding("connect_stalled", 2, web, 3, Resolved),
        // It gets worse only at its end.
        finding("tuple_reuse", 3, ssh, 1, Resolved),
    ] {
        groups.handle(&one, &mut tell);
    }
    groups.finish(BEGIN_NS + 3_500_000_000, &mut tell);
    assert_eq!(webhooks.close(Duration::from_secs(20)), Vec::<String>::new());
    for ((server, config), wanted) in &hooks {
        let name = |request: &Request| {
            let event = request.event();
            let service = if event["dest_port"] == 22 { "ssh" } else { "web" };
            let state = event["alert"]["state"].as_str().unwrap().to_owned();
            (format!("{} {service}", event["alert"]["signature"].as_str().unwrap()), state)
        };
        let mut told: Vec<_> = server.taken().iter().map(name).collect();
        told.sort();
        let mut expected: Vec<_> = wanted
            .iter()
            .flat_map(|name| {
                ["firing", "resolved"].map(|state| ((*name).to_owned(), state.to_owned()))
            })
            .collect();
        expected.sort();
        assert_eq!(told, expected, "{config:?}");
    }
}

/// More groups than the way to the spool holds, told at once as after a storm, to a hook that is down.
#[test]
fn live_a_burst_of_groups_waits_for_the_disk_and_loses_none() {
    let config = WebhookConfig { url: "http://127.0.0.1:9/".to_owned(), ..Default::default() };
    let dir = tempfile::tempdir().unwrap();
    let mut webhooks = Webhooks::start(&[config], dir.path(), Haste::Lose).unwrap();
    let context = Context { sensor: "test".to_owned(), origin: Origin::Interface("x".to_owned()) };
    let mut groups = Groups::new(Config::default(), [1, 2, 3, 4]);
    for n in 0..6_000u64 {
        let service = ([10, 1, (n >> 8) as u8, n as u8], 80);
        let one = finding("tuple_reuse", n, service, 2, State::Firing);
        groups.handle(&one, &mut |change| webhooks.group(&context, &change, 0));
    }
    let complaints = webhooks.close(Duration::ZERO).join("\n");
    assert!(complaints.contains("6000 wait there for the next run"), "{complaints}");
    assert!(!complaints.contains("found no place"), "{complaints}");
}

/// 4000 collisions of one network with one service within 40 ms, through the whole sensor.
#[test]
fn a_storm_is_a_handful_of_messages() {
    let server = Server::start(|_| GOOD);
    let dir = tempfile::tempdir().unwrap();
    let mut frames = Vec::new();
    for n in 0..4000u32 {
        let client = (0x0a00_0001 + n % 250, (20_000 + n / 250) as u16);
        let start_ns = BEGIN_NS + u64::from(n) * 10_000;
        frames.extend(collision(client, (0xac10_0001, 80), start_ns));
    }
    frames.sort_by_key(|(at_ns, _)| *at_ns);
    let file = dir.path().join("storm.pcap");
    fs::write(&file, pcap(&frames, true, false, 1)).unwrap();
    let output = run(&[
        "-r",
        file.to_str().unwrap(),
        "--webhook",
        &server.url(),
        "--spool-dir",
        dir.path().join("spool").to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let events: Vec<Value> = server.taken().iter().map(Request::event).collect();
    let of_reuse: Vec<_> =
        events.iter().filter(|event| event["alert"]["signature"] == "tuple_reuse").collect();
    assert!((2..=4).contains(&of_reuse.len()), "{} messages", of_reuse.len());
    assert!(events.len() <= 10, "{} messages", events.len());
    let last = &of_reuse.last().unwrap()["alert"]["group"];
    assert_eq!((&last["count"], &last["open"]), (&json!(4000), &json!(0)));
    let clients = last["clients"].as_array().unwrap();
    assert!(clients.iter().all(|client| client["count"].as_u64().unwrap() >= 16), "{clients:?}");
}
