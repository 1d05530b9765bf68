//! What is true of the shipped captures, asked of the real binary; its events against the schema;
//! and the same bytes from any number of workers and any size of batches.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

fn capture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures").join(name)
}

/// Runs the binary; its standard output.
fn xdpwatch(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_xdpwatch"))
        .args(arguments)
        .output()
        .expect("the binary runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {}\n{errors}", output.status);
    String::from_utf8(output.stdout).expect("output is UTF-8")
}

fn events(arguments: &[&str]) -> Vec<Value> {
    let fixed = ["--json", "--sensor", "test"];
    let text = xdpwatch(&[&fixed, arguments].concat());
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

fn alerts(events: &[Value]) -> Vec<&Value> {
    events.iter().filter(|event| event["event_type"] == "alert").collect()
}

/// Requires that `event` has every key of `expected` with its value.
#[track_caller]
fn assert_has(event: &Value, expected: &Value) {
    match expected {
        Value::Object(keys) => keys.iter().for_each(|(key, value)| assert_has(&event[key], value)),
        _ => assert_eq!(event, expected),
    }
}

/// What both sides show alike.
fn common() -> Value {
    json!({
        "src_ip": "10.24.20.249", "src_port": 57011,
        "dest_ip": "10.24.20.26", "dest_port": 8080,
        "proto": "TCP", "sensor": "test",
        "alert": { "signature": "tuple_reuse", "category": "paws" },
        "tuple_reuse": {
            "holder": { "ip": "10.24.20.26", "state": "time_wait", "closed_by": "server",
                        "since_ms": 9291, "deadline_from": "model" },
            "isn_delta": 352_641_030, "ts_delta": -1_159_862, "delta_from": "tracked",
            "verdict": "refuse_paws", "cause": "paws", "sequence_alone": "accept",
            "resets_by_initiator": 0, "different_sender": true, "model_contradicted": false,
        },
    })
}

#[test]
fn the_servers_side() {
    let path = capture("server-side.pcap");
    let events = events(&["-r", path.to_str().expect("a UTF-8 path")]);
    let alerts = alerts(&events);
    assert_eq!(alerts.len(), 2, "one finding: firing, then resolved");
    for alert in &alerts {
        assert_has(alert, &common());
        assert_eq!(alert["tuple_reuse"]["answer"], "challenge_ack");
        assert_eq!(alert["tuple_reuse"]["legs"], Value::Null, "the other leg is not in the file");
        assert_eq!(alert["alert"]["id"], alerts[0]["alert"]["id"]);
    }
    assert_has(
        alerts[0],
        &json!({
            "timestamp": "2019-03-12T00:11:55.546299Z",
            "alert": { "state": "firing", "severity": 2, "confidence": 1.0 },
            "tuple_reuse": { "outcome": "pending", "syn_count": 1, "answers": 1,
                             "holder": { "idle_before_close_ms": 30_033 } },
        }),
    );
    assert_has(
        alerts[1],
        &json!({
            "alert": { "state": "resolved", "severity": 1 },
            "tuple_reuse": {
                "outcome": "failed", "syn_count": 6, "answers": 6, "stall_ms": 31_074,
                // 806.62 s on the note's clock: the last refusal set the timer anew.
                "holder": { "deadline": "2019-03-12T00:13:26.620837Z" },
            },
        }),
    );
}

#[test]
fn the_balancers_side() {
    let path = capture("f5-side.pcap");
    let events = events(&["-r", path.to_str().expect("a UTF-8 path")]);
    let alerts = alerts(&events);
    assert_eq!(alerts.len(), 2, "one finding: firing, then resolved");
    for alert in &alerts {
        assert_has(alert, &common());
        let leg = |client: &str| {
            json!({ "src_ip": client, "src_port": 57011, "dest_ip": "10.24.20.51",
                    "dest_port": 8080, "matched_by": "port_and_tsval" })
        };
        assert_has(
            alert,
            &json!({ "tuple_reuse": {
                "answer": "none", "answers": 0,
                "legs": { "new": leg("10.24.18.14"), "previous": leg("10.24.18.13") },
            } }),
        );
    }
    assert_eq!(alerts[0]["timestamp"], "2019-03-12T00:12:31.711159Z", "at the first repeated SYN");
    assert_has(
        alerts[1],
        &json!({
            "alert": { "state": "resolved", "severity": 1 },
            "tuple_reuse": { "outcome": "failed", "syn_count": 6, "stall_ms": 31_074 },
        }),
    );
    let stats = events.iter().find(|event| event["event_type"] == "stats").expect("statistics");
    let balancer = &stats["balancers"][0];
    assert_eq!(balancer["vip"], json!({ "ip": "10.24.20.51", "port": 8080 }));
    assert_eq!(balancer["source_nat"][0]["ip"], "10.24.20.249");
    assert_eq!(balancer["servers"][0]["ip"], "10.24.20.26");
}

#[test]
fn two_files_are_two_vantage_points() {
    let (f5, server) = (capture("f5-side.pcap"), capture("server-side.pcap"));
    let (f5, server) = (f5.to_str().expect("UTF-8"), server.to_str().expect("UTF-8"));
    let events = events(&["-r", f5, "-r", server]);
    let alerts = alerts(&events);
    let from = |name: &str| alerts.iter().filter(|alert| alert["pcap_filename"] == name).count();
    assert_eq!((from(f5), from(server)), (2, 2));
    assert_eq!(events.iter().filter(|event| event["event_type"] == "stats").count(), 2);
}

#[test]
fn every_event_is_of_the_schema() {
    let schema: Value =
        serde_json::from_str(xdpwatch::report::json::SCHEMA).expect("the schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("the schema is a schema");
    let (f5, server) = (capture("f5-side.pcap"), capture("server-side.pcap"));
    let arguments = ["-r", f5.to_str().expect("UTF-8"), "-r", server.to_str().expect("UTF-8")];
    for event in events(&arguments) {
        let errors: Vec<String> =
            validator.iter_errors(&event).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}\n{event:#}");
        let mut broken = event.clone();
        broken["timestamp"] = json!("yesterday");
        assert!(!validator.is_valid(&broken), "the schema refuses a wrong time");
    }
}

#[test]
fn workers_and_batches_change_nothing() {
    for name in ["f5-side.pcap", "server-side.pcap"] {
        let path = capture(name);
        let path = path.to_str().expect("UTF-8");
        let run = |workers: &str, batch: &str| {
            let all = ["-r", path, "--all-reuse", "--workers", workers, "--batch", batch];
            let events = events(&all);
            alerts(&events).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let once = run("1", "64");
        assert!(!once.is_empty());
        for (workers, batch) in [("1", "64"), ("1", "1"), ("4", "64"), ("4", "1")] {
            assert_eq!(run(workers, batch), once, "{name}, {workers} workers, batches of {batch}");
        }
    }
}

#[test]
fn findings_set_the_exit_status_when_asked() {
    let path = capture("server-side.pcap");
    let status = Command::new(env!("CARGO_BIN_EXE_xdpwatch"))
        .args(["-r", path.to_str().expect("UTF-8"), "--exit-code"])
        .output()
        .expect("the binary runs")
        .status;
    assert_eq!(status.code(), Some(3));
}
