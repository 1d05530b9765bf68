//! Every packet script of the core through the binary: each event is of the schema, each expected
//! rule comes out, workers and batches change nothing, and people get a sentence and advice.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use common::{run, stderr, stdout};
use serde_json::Value;
use xdpwatch_prog::record::{Record, flags};
use xdpwatch_tools::script::{self, Kind};
use xdpwatch_tools::{frames, pcap};

/// 192.0.2.1:1 to 192.0.2.2:2, of which nothing else is known.
fn stray_reset(at_ns: u64) -> Record {
    let end = |last| {
        let mut address = [0; 16];
        address[10..].copy_from_slice(&[0xff, 0xff, 192, 0, 2, last]);
        address
    };
    Record {
        at_ns,
        src_addr: end(1),
        dst_addr: end(2),
        src_port: 1,
        dst_port: 2,
        flags: flags::RST,
        ..Record::default()
    }
}

/// Scripts in the core's folder, but those that need options of their own.
fn scripts() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("core/tests/scripts");
    let mut scripts: Vec<_> = fs::read_dir(folder)
        .expect("the scripts' folder is there")
        .map(|entry| entry.expect("a readable folder").path())
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, fs::read_to_string(path).expect("a readable script"))
        })
        .filter(|(_, text)| !text.contains("// option:") && !text.contains(" vni "))
        .collect();
    scripts.sort();
    scripts
}

/// The script as a capture. Its end is a stray RST of somebody else: that makes time pass, and no more.
fn capture(dir: &Path, name: &str, text: &str) -> PathBuf {
    let mut packets = Vec::new();
    for line in script::parse(text).expect("a script") {
        match line.kind {
            Kind::Segment(record) => packets.push((record.at_ns, frames::ethernet(&record))),
            Kind::Expect(_) => {}
            Kind::End(at_ns) => packets.push((at_ns, frames::ethernet(&stray_reset(at_ns)))),
        }
    }
    let path = dir.join(name).with_extension("pcap");
    let frames = packets.iter().map(|(at_ns, frame)| (*at_ns, frame.as_slice()));
    pcap::write(&path, frames).expect("a file");
    path
}

#[test]
fn every_script_gives_valid_events_and_the_same_for_all_workers() {
    let schema: Value = serde_json::from_str(xdpwatch::report::json::SCHEMA).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let dir = tempfile::tempdir().expect("a folder");
    let mut seen = BTreeSet::new();
    // No script has as many connections as it takes to hold a source's ports.
    let ports =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/captures/client-ports.pcap.gz");
    let inputs = scripts().into_iter().map(|(name, text)| {
        let path = capture(dir.path(), &name, &text);
        (name, path)
    });
    for (name, path) in inputs.chain([("client-ports".to_owned(), ports)]) {
        let path = path.to_str().expect("a plain path");
        let asked = ["-r", path, "--json", "--port-range", "10.83.0.0/24=40000-40999"];
        let one = run(&asked);
        let four = run(&[asked.as_slice(), &["--workers", "4", "--batch", "1"]].concat());
        let alerts = |text: &str| -> Vec<String> {
            text.lines().filter(|line| line.contains("\"alert\"")).map(str::to_owned).collect()
        };
        assert_eq!(alerts(&stdout(&one)), alerts(&stdout(&four)), "{name}");
        for line in stdout(&one).lines() {
            let event: Value = serde_json::from_str(line).expect("JSON");
            let wrong: Vec<String> =
                validator.iter_errors(&event).map(|error| error.to_string()).collect();
            assert!(wrong.is_empty(), "{name}: {wrong:?}\n{line}");
            if let Some(rule) = event["alert"]["signature"].as_str() {
                seen.insert(rule.to_owned());
            }
        }
        assert_eq!(one.status.code(), Some(0), "{name}: {}", stderr(&one));
    }
    for rule in xdpwatch_core::detect::RULES {
        assert!(seen.contains(rule.name), "no script raises {}", rule.name);
    }
}

#[test]
fn people_get_a_sentence_and_advice() {
    let dir = tempfile::tempdir().expect("a folder");
    let text = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("core/tests/scripts").join(name);
        let script = fs::read_to_string(path.with_extension("pkt")).expect("a script");
        let path = capture(dir.path(), name, &script);
        stdout(&run(&["-r", path.to_str().expect("a plain path")]))
    };
    for (script, expected) in [
        ("listener_gap", "10.0.0.2:80, a listener that lives, refused 1 within 0.000 s"),
        ("listener_gap", "to do    proxy: seamless reload"),
        (
            "half_closed",
            "the server closed 60.000 s ago, the client has not (FIN_WAIT2 at the server",
        ),
        ("half_closed", "timeout client-fin"),
        ("half_closed_pair", "so is its other leg 10.24.18.14:57011 -> 10.24.20.51:8080"),
        ("fin_unacknowledged", "the FIN of the server was repeated 3 times in 1.400 s"),
        ("fin_unacknowledged", "net.ipv4.tcp_orphan_retries"),
        ("churn", "10.0.0.2:80: 6 connections per second that live 0.004 s (median), 100 % closed"),
        ("churn", "HAProxy `option http-keep-alive` instead of `httpclose`"),
        ("half_closed_pair", "1  10.24.20.51:8080: 1 fin_wait2_server"),
    ] {
        let shown = text(script);
        assert!(shown.contains(expected), "{script}: {expected}\n{shown}");
    }
}

#[test]
fn the_limit_of_half_closed_connections_is_the_callers() {
    let dir = tempfile::tempdir().expect("a folder");
    let script = include_str!("../core/tests/scripts/half_closed_in_time.pkt");
    let path = capture(dir.path(), "limit", script);
    let path = path.to_str().expect("a plain path");
    let shown = stdout(&run(&["-r", path, "--half-closed-limit", "20s"]));
    assert!(shown.contains("the client closed 20.000 s ago, the server has not"), "{shown}");
    assert!(!stdout(&run(&["-r", path])).contains("half_closed  severity"));
}
