//! `--compare` through the binary: the two shipped captures, and a pair of captures built with a known
//! offset, drift, loss, copies and gaps.

mod common;

use std::fs;
use std::path::Path;

use common::{ACK, FIN, SYN, Segment, Timed, capture, pcap, run, stderr, stdout};
use serde_json::Value;

const START_NS: u64 = 1_700_000_000_000_000_000;
const CLIENT: u32 = 0x0a00_0001;
const SERVER: u32 = 0x0a00_0002;

fn compare(first: &Path, second: &Path, more: &[&str]) -> std::process::Output {
    let (first, second) = (first.to_str().expect("UTF-8"), second.to_str().expect("UTF-8"));
    run(&[&["--compare", "-r", first, "-r", second], more].concat())
}

/// The comparison event, which must be of the schema.
#[track_caller]
fn comparison(first: &Path, second: &Path) -> Value {
    let output = compare(first, second, &["--json"]);
    let text = stdout(&output);
    let line = text.lines().find(|line| line.contains("\"event_type\":\"comparison\""));
    let line = line.unwrap_or_else(|| panic!("no comparison: {}", stderr(&output)));
    let event: Value = serde_json::from_str(line).expect("a line is JSON");
    let schema = serde_json::from_str(xdpwatch::report::json::SCHEMA).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let errors: Vec<String> = validator.iter_errors(&event).map(|e| e.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}\n{event:#}");
    let mut broken = event.clone();
    broken["comparison"]["matched"] = Value::from("many");
    assert!(!validator.is_valid(&broken), "the schema looks into it");
    event["comparison"].clone()
}

#[test]
fn the_shipped_captures() {
    let (f5, server) = (capture("f5-side.pcap"), capture("server-side.pcap"));
    let said = comparison(&f5, &server);
    let offset_us = said["offset_us"].as_i64().expect("a number");
    assert!((offset_us + 35_162_400).abs() < 1000, "35.1624 s within 1 ms: {offset_us} us");
    let lost = said["lost"].as_array().expect("an array");
    assert_eq!(lost.len(), 1, "{said:#}");
    assert_eq!((&lost[0]["kind"], &lost[0]["count"]), (&"ACK".into(), &6.into()), "{said:#}");
    assert_eq!(lost[0]["src_ip"], "10.24.20.26");
    assert!(lost[0]["missing_in"].as_str().expect("a name").ends_with("f5-side.pcap"));
    let findings = said["findings"].as_array().expect("an array");
    assert_eq!(findings.len(), 2, "each file's: {said:#}");
    for finding in findings {
        assert_eq!(finding["signature"], "tuple_reuse");
        let summary = finding["summary"].as_str().expect("text");
        assert!(summary.contains("10.24.20.26's 6 ACK passed"), "{summary}");
    }
    // The other way round: the same with the other sign.
    let turned = comparison(&server, &f5);
    let turned_us = turned["offset_us"].as_i64().expect("a number");
    assert!((turned_us + offset_us).abs() <= 1, "{turned_us}");
    assert_eq!(turned["lost"][0]["count"], 6);
    let text = stdout(&compare(&f5, &server, &[]));
    assert!(text.contains("is behind") && text.contains("by 35.162"), "{text}");
    assert!(text.contains("10.24.20.26's 6 ACK passed"), "{text}");
    assert_eq!(text, stdout(&compare(&f5, &server, &["--workers", "4"])), "the same each time");
}

/// What both points of a simulated path see of connections, one each 100 ms, for 60 s.
struct Pair {
    near: Vec<Timed>,
    far: Vec<Timed>,
}

/// Every connection's handshake, data, and close. `lost(n, from_client, flags)`: it dies between.
fn pair(
    offset_ns: i64,
    drift_ppm: i64,
    path_ns: u64,
    lost: impl Fn(u32, bool, u8) -> bool,
) -> Pair {
    let mut pair = Pair { near: Vec::new(), far: Vec::new() };
    for n in 0..600u32 {
        let port = 40_000 + (n % 20_000) as u16;
        let (client, server) = ((CLIENT, port), (SERVER, 80));
        let (mine, theirs) = (n * 7919 + 1, n * 104_729 + 5);
        let steps = [
            (true, mine, 0, SYN),
            (false, theirs, mine + 1, SYN | ACK),
            (true, mine + 1, theirs + 1, ACK),
            (false, theirs + 1, mine + 1, FIN | ACK),
            (true, mine + 1, theirs + 2, FIN | ACK),
            (false, theirs + 2, mine + 2, ACK),
        ];
        for (k, (from_client, seq, ack, flags)) in steps.into_iter().enumerate() {
            let (src, dst) = if from_client { (client, server) } else { (server, client) };
            let ts_val = n * 100 + k as u32;
            let frame = Segment { src, dst, seq, ack, flags, ts_val, ts_ecr: 1 }.frame();
            // The client's point sees its segments first; the path takes the same both ways.
            let sent_ns = u64::from(n) * 100_000_000 + k as u64 * 8_000_000;
            let arrived_ns = sent_ns + path_ns;
            let (near_ns, far_ns) =
                if from_client { (sent_ns, arrived_ns) } else { (arrived_ns, sent_ns) };
            let gained = far_ns as i64 / 1_000_000 * drift_ppm;
            let far_at = (START_NS + far_ns).saturating_add_signed(offset_ns + gained);
            let is_lost = lost(n, from_client, flags);
            if !is_lost || from_client {
                pair.near.push((START_NS + near_ns, frame.clone()));
            }
            if !is_lost || !from_client {
                pair.far.push((far_at, frame));
            }
        }
    }
    pair.near.sort_by_key(|(at_ns, _)| *at_ns);
    pair.far.sort_by_key(|(at_ns, _)| *at_ns);
    pair
}

fn written(dir: &Path, name: &str, frames: &[Timed]) -> std::path::PathBuf {
    let path = dir.join(name);
    fs::write(&path, pcap(frames, true, false, 1)).unwrap();
    path
}

#[test]
fn offset_drift_and_path_of_a_built_pair() {
    let dir = tempfile::tempdir().unwrap();
    for (offset_ns, drift_ppm, path_ns) in
        [(5_000_000_000, 40, 3_000_000), (-123_456_000, -25, 250_000), (0, 0, 0)]
    {
        let pair = pair(offset_ns, drift_ppm, path_ns, |_, _, _| false);
        let near = written(dir.path(), "near.pcap", &pair.near);
        let far = written(dir.path(), "far.pcap", &pair.far);
        let said = comparison(&near, &far);
        let number = |key: &str| said[key].as_i64().unwrap_or_else(|| panic!("{key}: {said:#}"));
        assert!((number("offset_us") - offset_ns / 1000).abs() < 1000, "{said:#}");
        assert!((number("drift_ppb") - drift_ppm * 1000).abs() < 500, "{said:#}");
        assert!((number("path_us") - path_ns as i64 / 1000).abs() < 100, "{said:#}");
        assert_eq!(said["lost"].as_array().map(Vec::len), Some(0), "{said:#}");
        assert_eq!(said["matched"], 3600, "{said:#}");
    }
}

#[test]
fn loss_has_its_direction_and_copies_and_gaps_are_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    // Of every 30th connection the client's ACK dies, of every 40th the server's. The far side has not
    // captured the SYN of every 50th, which its server answers all the same.
    let mut pair = pair(2_000_000_000, 10, 1_000_000, |n, from_client, flags| {
        n % 50 == 1 && from_client && flags == SYN
            || n % 30 == 4 && from_client && flags == ACK
            || n % 40 == 2 && !from_client && flags == ACK
    });
    // The mirror at the client's side copies every segment, in half a millisecond.
    let copies: Vec<Timed> =
        pair.near.iter().map(|(at_ns, frame)| (at_ns + 500_000, frame.clone())).collect();
    pair.near.extend(copies);
    pair.near.sort_by_key(|(at_ns, _)| *at_ns);
    // The client's side has not captured one SYN: it passed there all the same.
    let port = 40_100u16.to_be_bytes();
    pair.near.retain(|(_, frame)| !(frame[34..36] == port && frame[47] == SYN));
    let near = written(dir.path(), "near.pcap", &pair.near);
    let far = written(dir.path(), "far.pcap", &pair.far);
    let said = comparison(&near, &far);
    let lost = said["lost"].as_array().expect("an array");
    let count = |kind: &str, seen_in: &str| -> i64 {
        let of = lost.iter().filter(|group| {
            group["kind"] == kind && group["seen_in"].as_str().unwrap().ends_with(seen_in)
        });
        of.map(|group| group["count"].as_i64().unwrap()).sum()
    };
    assert_eq!((count("ACK", "far.pcap"), count("ACK", "near.pcap")), (15, 20), "{said:#}");
    assert_eq!(lost.len(), 35, "nothing but these: {said:#}");
    assert_eq!(said["not_captured"], serde_json::json!([1, 12]), "{said:#}");
    assert!(said["copies"].as_i64().unwrap() > 3000, "{said:#}");
}

#[test]
fn what_can_not_be_compared_is_said_with_its_cure() {
    let dir = tempfile::tempdir().unwrap();
    let same = pair(0, 0, 1_000_000, |_, _, _| false);
    let near = written(dir.path(), "near.pcap", &same.near);
    // Another network, with other numbers.
    let strange: Vec<Timed> = common::collision((1, 1), (2, 2), START_NS);
    let strange = written(dir.path(), "strange.pcap", &strange);
    // The client's address is another behind a NAT.
    let translated: Vec<Timed> = same
        .far
        .iter()
        .map(|(at_ns, frame)| {
            let mut frame = frame.clone();
            for place in [26, 30] {
                if frame[place..place + 4] == CLIENT.to_be_bytes() {
                    frame[place + 1] = 77;
                }
            }
            (*at_ns, frame)
        })
        .collect();
    let translated = written(dir.path(), "translated.pcap", &translated);
    let later: Vec<Timed> = same
        .far
        .iter()
        .map(|(at_ns, frame)| (at_ns + 200_000_000_000_000, frame.clone()))
        .collect();
    let later = written(dir.path(), "later.pcap", &later);
    let cases = [
        (&strange, "nothing in common"),
        (&translated, "address translation lies between"),
        (&later, "more than a day"),
    ];
    for (other, reason) in cases {
        let output = compare(&near, other, &[]);
        assert_eq!(output.status.code(), Some(1), "{reason}");
        assert!(stderr(&output).contains(reason), "{reason}: {}", stderr(&output));
    }
    let near = near.to_str().unwrap();
    for (arguments, reason) in [
        (vec!["--compare", "-r", near], "exactly two files"),
        (vec!["--compare", "-r", near, "-r", near, "-r", near], "exactly two files"),
        (vec!["--compare", "-r", near, "-r", "-"], "more than once"),
    ] {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(reason), "{reason}: {}", stderr(&output));
    }
}

#[test]
fn a_cut_file_is_compared_as_far_as_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let pair = pair(7_000_000_000, 0, 1_000_000, |_, _, _| false);
    let near = written(dir.path(), "near.pcap", &pair.near);
    let bytes = pcap(&pair.far, true, false, 1);
    let far = dir.path().join("far.pcap");
    fs::write(&far, &bytes[..bytes.len() / 2 + 11]).unwrap();
    let output = compare(&near, &far, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("cut off"), "{}", stderr(&output));
    let said = comparison(&near, &far);
    assert_eq!(said["lost"].as_array().map(Vec::len), Some(0), "what is not covered is not lost");
    assert!((said["offset_us"].as_i64().unwrap() - 7_000_000).abs() < 1000, "{said:#}");
}
