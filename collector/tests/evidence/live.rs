//! Evidence of live capture, of rules besides that of collisions: packet scripts are played through a
//! veth pair at their pace, all at once, each between hosts of its own. Needs root; says so without.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use xdpwatch_prog::record::Record;
use xdpwatch_tools::frames;
use xdpwatch_tools::script::BEGIN_NS;

use crate::common::net::{Net, Sender, can_run};
use crate::common::{alerts, stderr};
use crate::rules::{COMMENTS, FEW, comments_shown, own_facts};
use crate::{alerts_of, last_by_id, script, scripts, text};

/// Rules that need no more time than a test may take, and how much faster than written their scripts
/// are played: retransmissions keep their times, series need not.
const PLAYED: [(&str, u32); 6] = [
    ("connect_stalled", 1),
    ("fin_unacknowledged", 1),
    ("half_closed", 1),
    ("host_timestamp_refusal", 2),
    ("listener_gap", 1),
    ("mixed_clocks", 1),
];

/// Instead of a minute, in the capture and in each replay.
const LIMITS: [&str; 2] = ["--half-closed-limit", "2s"];

/// Until the last of them ends by itself.
const LENGTH: Duration = Duration::from_secs(9);

/// Segments of the scripts by time since the beginning, nanoseconds.
fn played() -> Vec<(u64, Record)> {
    let mut all = Vec::new();
    for (n, (rule, faster)) in (1u8..).zip(PLAYED) {
        let is_it = |path: &std::path::PathBuf| path.file_stem().is_some_and(|stem| stem == rule);
        let path = scripts().into_iter().find(is_it).expect("a script of the rule");
        // A clock's first value is a round one; it ticks as much faster.
        let ticks = |ts: u32| ts - ts % 1_000_000 + ts % 1_000_000 / faster;
        for record in script(&path).0 {
            let mut record =
                Record { ts_val: ticks(record.ts_val), ts_ecr: ticks(record.ts_ecr), ..record };
            (record.src_addr[13], record.dst_addr[13]) = (n, n);
            let at_ns = (record.at_ns - BEGIN_NS) / u64::from(faster);
            if u128::from(at_ns) < LENGTH.as_nanos() {
                all.push((at_ns, record));
            }
        }
    }
    all.sort_by_key(|(at_ns, _)| *at_ns);
    all
}

fn play(net: &Net) {
    net.inside(|| {
        let (sender, began) = (Sender::open("tx0"), Instant::now());
        for (at_ns, record) in played() {
            thread::sleep(Duration::from_nanos(at_ns).saturating_sub(began.elapsed()));
            sender.send(&frames::ethernet(&record));
        }
        thread::sleep(LENGTH.saturating_sub(began.elapsed()));
    });
}

/// Facts without points in time: live events follow the drift of UTC, files keep their clock.
fn comparable(event: &Value) -> Value {
    let mut facts = own_facts(event);
    let times = ["first", "last"];
    facts.as_object_mut().expect("facts").retain(|name, _| !times.contains(&name.as_str()));
    facts
}

/// Rules whose alerts' files showed their comments, and those whose findings were found again.
#[derive(Debug, Default)]
struct Proven {
    shown: BTreeSet<String>,
    replayed: BTreeSet<String>,
}

/// Captures what is played; every file must be good, and give its finding again where it says so.
fn capture(net: &Net) -> Proven {
    let dir = tempfile::tempdir().expect("a folder");
    let args = ["-i", "rx0", "--json", "--listen", "off", "--user", "root", "--evidence-dir"];
    let args = [&args[..], &[text(dir.path())], &LIMITS].concat();
    let mut sensor = net.start(&args);
    play(net);
    let output = sensor.end();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let events = alerts(&output);
    let events = events.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let Proven { mut shown, mut replayed } = Proven::default();
    for (id, event) in last_by_id(events) {
        let alert = &event["alert"];
        let rule = alert["signature"].as_str().expect("a rule");
        // A worker that answers too late is not waited for.
        let Some(name) = alert["evidence"].as_str() else { continue };
        let file = dir.path().join(name);
        // Some scripts make many alerts of other rules too; tshark takes its time.
        if !shown.contains(rule) {
            let (_, comments) = COMMENTS.iter().find(|(known, _)| *known == rule).expect("known");
            let are_there = |all: String| comments.iter().all(|comment| all.contains(comment));
            if comments_shown(&file).is_none_or(are_there) {
                shown.insert(rule.to_owned());
            }
        }
        if alert["evidence_kind"] == "whole" {
            assert_replays(&id, &event, &file);
            replayed.insert(rule.to_owned());
        }
    }
    Proven { shown, replayed }
}

#[track_caller]
fn assert_replays(id: &str, event: &Value, file: &Path) {
    let again = last_by_id(alerts_of(file, &LIMITS));
    let again = again.get(id).unwrap_or_else(|| panic!("{id} is not found again: {event:#}"));
    for key in ["signature", "category", "state"] {
        assert_eq!(again["alert"][key], event["alert"][key], "{key}: {event:#}");
    }
    assert_eq!(comparable(again), comparable(event), "{event:#}");
}

#[test]
fn live_evidence_of_rules_opens_in_tshark_and_gives_the_finding_again() {
    if !can_run("live_evidence_of_rules_opens_in_tshark_and_gives_the_finding_again") {
        return;
    }
    let rules: BTreeSet<String> = PLAYED.iter().map(|(rule, _)| (*rule).to_owned()).collect();
    let few: BTreeSet<String> = FEW.iter().map(|rule| (*rule).to_owned()).collect();
    let net = Net::new(2);
    // On a busy machine a worker may answer too late, and its part of a file is missing.
    let mut tries = (0..3).map(|_| capture(&net));
    let proven = tries.find(|proven| {
        println!("{proven:?}");
        proven.shown.is_superset(&rules) && proven.replayed.is_superset(&few)
    });
    assert!(proven.is_some(), "comments of {rules:?}, replays of {few:?}");
}
