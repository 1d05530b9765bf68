//! Evidence of collisions: each file gives its finding again, also where the earlier connection had to
//! be rebuilt; it stays within its limits, and a redacted one tells no address.

use std::path::Path;

use serde_json::Value;
use xdpwatch_prog::record::{Record, flags};

use crate::common::{self, alerts, capture, run, stderr};
use crate::{alerts_of, last_by_id, script, scripts, text, tshark, write};

/// Facts that a replay of the evidence must give again.
const SAME: [&str; 9] = [
    "holder",
    "isn_delta",
    "ts_delta",
    "verdict",
    "cause",
    "answer",
    "answers",
    "syn_count",
    "outcome",
];

/// Those about a tuple that is still held.
fn of_reuse(mut events: Vec<Value>) -> Vec<Value> {
    events.retain(|event| event["alert"]["signature"] == "tuple_reuse");
    events
}

/// Facts without what was learned of the holder on its other tuples, whose packets are not there.
fn alone(facts: &Value, key: &str) -> Value {
    let mut fact = facts[key].clone();
    if let ("holder", Some(holder)) = (key, fact.as_object_mut()) {
        holder.retain(|name, _| !name.starts_with("deadline"));
    }
    fact
}

/// Requires that the evidence of `event` gives the same finding.
#[track_caller]
fn assert_replays(event: &Value, folder: &Path, options: &[&str]) {
    let name = event["alert"]["evidence"].as_str().expect("an evidence file");
    let model = proven_model(event);
    let options: Vec<&str> = options.iter().copied().chain(model.as_deref()).collect();
    let again = last_by_id(alerts_of(&folder.join(name), &options));
    let id = event["alert"]["id"].as_str().expect("an id");
    let replayed = again.get(id).unwrap_or_else(|| panic!("{id} is not found again: {event:#}"));
    for key in ["signature", "category", "severity", "state"] {
        assert_eq!(replayed["alert"][key], event["alert"][key], "{key}: {event:#}");
    }
    for key in SAME {
        let [again, first] = [replayed, event].map(|event| alone(&event["tuple_reuse"], key));
        assert_eq!(again, first, "{key}: {event:#}");
    }
}

/// What the holder's other tuples proved of its TCP is not in the file of one: it is to be said.
fn proven_model(event: &Value) -> Option<String> {
    let reuse = &event["tuple_reuse"];
    let (holder, model) = (reuse["holder"]["ip"].as_str()?, reuse["host_model"].as_str()?);
    let proven = reuse["host_model_from"] == "evidence" && model != "linux";
    proven.then(|| format!("--host-model={holder}={model}"))
}

/// Enough other connections to push everything out of the shortest history.
pub fn flood(at_ns: u64, round: usize) -> impl Iterator<Item = Record> {
    (0..80u16).map(move |n| {
        let mut record = Record {
            at_ns,
            src_port: 20_000 + n,
            dst_port: 443,
            seq: u32::from(n) << 8,
            flags: flags::SYN,
            window: 502,
            ttl: 64,
            ..Record::default()
        };
        record.src_addr[10..].copy_from_slice(&[0xff, 0xff, 10, 99, round as u8, 1]);
        record.dst_addr[10..].copy_from_slice(&[0xff, 0xff, 10, 98, 0, 1]);
        record
    })
}

#[test]
fn the_captures_evidence_gives_their_findings() {
    for name in ["f5-side.pcap", "server-side.pcap"] {
        let dir = tempfile::tempdir().expect("a folder");
        let events = alerts_of(&capture(name), &["--evidence-dir", text(dir.path())]);
        assert_eq!(events.len(), 2, "firing and resolved");
        for event in last_by_id(events).values() {
            assert_eq!(event["alert"]["evidence_complete"], true, "{event:#}");
            assert_replays(event, dir.path(), &[]);
        }
    }
}

#[test]
fn every_scripts_evidence_gives_its_findings() {
    let mut replayed = 0;
    for path in scripts() {
        let (records, options) = script(&path);
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("script.pcap");
        write(&file, &records);
        let evidence = dir.path().join("evidence");
        let all = [options.as_slice(), &["--evidence-dir", text(&evidence)]].concat();
        for event in last_by_id(of_reuse(alerts_of(&file, &all))).values() {
            assert_eq!(event["alert"]["evidence_complete"], true, "{}\n{event:#}", path.display());
            assert_replays(event, &evidence, &options);
            replayed += 1;
        }
    }
    assert!(replayed >= 30, "{replayed} findings");
}

/// With a history so short that each earlier connection has left it.
#[test]
fn what_has_left_the_history_is_rebuilt_and_said_to_be() {
    let (mut rebuilt, mut differ) = (0, Vec::new());
    for path in scripts() {
        let (records, options) = script(&path);
        let mut flooded = Vec::new();
        for (n, record) in records.iter().enumerate() {
            let is_same = |earlier: &Record| {
                earlier.is_pure_syn()
                    && (earlier.src_port, earlier.seq) == (record.src_port, record.seq)
            };
            // A SYN that comes again is the collision's own, not the earlier connection's.
            if n > 0 && record.is_pure_syn() && !records[..n].iter().any(is_same) {
                flooded.extend(flood(record.at_ns, n));
            }
            flooded.push(*record);
        }
        let dir = tempfile::tempdir().expect("a folder");
        let (plain, file) = (dir.path().join("plain.pcap"), dir.path().join("flooded.pcap"));
        write(&plain, &records);
        write(&file, &flooded);
        let evidence = dir.path().join("evidence");
        let short = ["--evidence-dir", text(&evidence), "--history", "64"];
        let all = [options.as_slice(), &short].concat();
        let events = last_by_id(of_reuse(alerts_of(&file, &all)));
        assert_eq!(events.len(), last_by_id(of_reuse(alerts_of(&plain, &options))).len());
        for (id, event) in &events {
            if event["alert"]["evidence_complete"] == true {
                continue;
            }
            rebuilt += 1;
            let name = event["alert"]["evidence"].as_str().expect("an evidence file");
            let model = proven_model(event);
            let options: Vec<&str> = options.iter().copied().chain(model.as_deref()).collect();
            let again = last_by_id(alerts_of(&evidence.join(name), &options));
            let Some(again) = again.get(id) else {
                differ.push(format!("{}: not found again", path.display()));
                continue;
            };
            for key in ["isn_delta", "ts_delta", "verdict", "cause", "answer", "outcome"] {
                if again["tuple_reuse"][key] != event["tuple_reuse"][key] {
                    let (new, old) = (&again["tuple_reuse"][key], &event["tuple_reuse"][key]);
                    differ.push(format!("{}: {key} {old} is {new} again", path.display()));
                }
            }
        }
    }
    assert!(rebuilt >= 20, "{rebuilt} were rebuilt");
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn workers_and_batches_change_neither_events_nor_files() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("all.pcap");
    let mut records = Vec::new();
    for path in scripts() {
        records.extend(script(&path).0);
    }
    let second = 1_000_000_000;
    records.extend(
        (0..20).flat_map(|n| flood(xdpwatch_tools::script::BEGIN_NS + n * 3 * second, n as usize)),
    );
    records.sort_by_key(|record| record.at_ns);
    write(&file, &records);
    let result = |workers: &str, batch: &str| {
        let evidence = tempfile::tempdir().expect("a folder");
        let options = ["--evidence-dir", text(evidence.path()), "--history", "200"];
        let all = [&options[..], &["--workers", workers, "--batch", batch]].concat();
        let events: Vec<String> = alerts_of(&file, &all).iter().map(ToString::to_string).collect();
        let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(evidence.path())
            .expect("a readable folder")
            .map(|entry| entry.expect("a readable folder").path())
            .map(|path| {
                (
                    path.display()
                        .to_string()
                        .split_off(evidence.path().display().to_string().len()),
                    std::fs::read(&path).expect("a readable file"),
                )
            })
            .collect();
        files.sort();
        (events, files)
    };
    let once = result("1", "64");
    assert!(once.0.iter().any(|event| event.contains("\"evidence_complete\":true")));
    assert!(once.0.iter().any(|event| event.contains("\"evidence_complete\":false")));
    for (workers, batch) in [("1", "1"), ("4", "64"), ("4", "1")] {
        assert!(result(workers, batch) == once, "{workers} workers, batches of {batch}");
    }
}

#[test]
fn tshark_opens_it_and_shows_the_comments() {
    let dir = tempfile::tempdir().expect("a folder");
    let evidence = ["--evidence-dir", text(dir.path())];
    let events = alerts_of(&capture("server-side.pcap"), &evidence);
    let file = dir.path().join(events[0]["alert"]["evidence"].as_str().expect("a name"));
    let Some(whole) = tshark(&file, &["-V"]) else { return };
    for complaint in ["Malformed", "Expert Info (Error", "incorrect", "BoundErrorUnreassembled"] {
        assert!(!whole.contains(complaint), "{complaint}\n{whole}");
    }
    let comments = tshark(&file, &["-T", "fields", "-e", "frame.comment"]).expect("tshark runs");
    for comment in [
        "TSval 1 159 862 behind the last one: PAWS refuses",
        "challenge ACK: the old connection's numbers",
        "the holder closes first after 30.033 s of silence",
        "the SYN again, number 6",
    ] {
        assert!(comments.contains(comment), "{comment}\n{comments}");
    }
    let fields = ["-T", "fields", "-e", "frame.time_epoch", "-e", "frame.interface_name"];
    let times = tshark(&file, &fields).expect("tshark runs");
    assert!(times.contains("1552349515.546271000\t"), "{times}");
    assert!(times.contains("server-side.pcap"), "{times}");
}

#[test]
fn limits_hold_and_are_counted() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("many.pcap");
    let mut frames: Vec<common::Timed> = Vec::new();
    for n in 0..20u16 {
        let start = 1_700_000_000_000_000_000 + u64::from(n) * 1_000_000;
        frames.extend(common::collision((0x0a00_0001, 40_000 + n), (0x0a00_0002, 80), start));
    }
    frames.sort_by_key(|(at_ns, _)| *at_ns);
    std::fs::write(&file, common::pcap(&frames, true, false, 1)).expect("a writable folder");
    let evidence = dir.path().join("evidence");
    let options = ["--evidence-dir", text(&evidence), "--evidence-files", "5"];
    let output = run(&[&["--json", "-r", text(&file)], &options[..]].concat());
    let alerts = alerts(&output);
    let of_reuse = |line: &&String| line.contains("\"signature\":\"tuple_reuse\"");
    assert_eq!(alerts.iter().filter(of_reuse).count(), 40);
    let files = std::fs::read_dir(&evidence).expect("the folder is there").count();
    assert_eq!(files, 5);
    let last = common::stdout(&output).lines().last().expect("statistics").to_owned();
    let stats: Value = serde_json::from_str(&last).expect("JSON");
    let counts = &stats["stats"]["evidence"];
    assert_eq!(
        (counts["files"].as_u64(), counts["failed"].as_u64()),
        (Some(5), Some(0)),
        "{counts}"
    );
    // The storm is other rules' business as well.
    let with_evidence = alerts.iter().filter(|line| line.contains("\"evidence\":\"")).count();
    assert!(with_evidence >= 40, "{with_evidence}");
    assert_eq!(counts["written"].as_u64(), Some(with_evidence as u64), "{counts}");
}

#[test]
fn redacted_evidence_and_events_tell_no_address() {
    let dir = tempfile::tempdir().expect("a folder");
    let options = ["--evidence-dir", text(dir.path()), "--redact"];
    let events = alerts_of(&capture("server-side.pcap"), &options);
    assert_eq!(events.len(), 2);
    let event = &events[1];
    let name = event["alert"]["evidence"].as_str().expect("an evidence file");
    let bytes = std::fs::read(dir.path().join(name)).expect("the file is there");
    for addr in [[10, 24, 20, 249], [10, 24, 20, 26]] {
        assert!(!bytes.windows(4).any(|four| four == addr), "{addr:?} is in the file");
    }
    for word in ["10.24.20.249", "10.24.20.26"] {
        assert!(!String::from_utf8_lossy(&bytes).contains(word), "{word} is in a comment");
        assert!(!event.to_string().contains(word), "{word} is in the event");
    }
    assert_eq!(
        (event["src_port"].as_u64(), event["dest_port"].as_u64()),
        (Some(57011), Some(8080))
    );
    assert_eq!(event["tuple_reuse"]["ts_delta"], -1_159_862);
    assert_replays(event, dir.path(), &[]);
    let again = alerts_of(&capture("server-side.pcap"), &options);
    assert_eq!(again, events, "the same key gives the same names");
    for format in [&["--json"][..], &[]] {
        let output = run(&[format, &["-r", text(&capture("server-side.pcap"))], &options].concat());
        let all = common::stdout(&output);
        assert!(all.contains("57011") && !all.contains("10.24.20."), "{all}");
    }
    if let Some(whole) = tshark(&dir.path().join(name), &["-V", "-o", "tcp.check_checksum:TRUE"]) {
        assert!(!whole.contains("Malformed"), "{whole}");
    }
}

#[test]
fn redacting_without_a_key_is_refused_with_the_cure() {
    let output = run(&["-r", text(&capture("server-side.pcap")), "--redact"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--redact-key FILE"), "{}", stderr(&output));
}
