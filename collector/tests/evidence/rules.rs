//! Evidence of the rules that span connections: every rule has files, those about few connections give
//! their finding again, the others show a part and say so.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use xdpwatch_prog::record::{Record, flags};
use xdpwatch_tools::script::BEGIN_NS;

use crate::reuse::flood;
use crate::{alerts_of, last_by_id, script, scripts, text, tshark, write};

/// What tshark must show of each rule's packets.
pub const COMMENTS: [(&str, &[&str]); 9] = [
    (
        "connect_stalled",
        &["SYN on a tuple that nobody held", "after the one before: no answer so far"],
    ),
    (
        "listener_gap",
        &["takes a connection: its listener lives", "nothing listens there at this moment"],
    ),
    (
        "host_timestamp_refusal",
        &["behind the last one that the server took", "ahead of the last one"],
    ),
    ("mixed_clocks", &["behind the SYN before it from this address: another clock"]),
    ("port_pressure", &["takes port 400", " of its address towards 10.0.0.2:80"]),
    (
        "half_closed",
        &["closes its direction", "is in FIN_WAIT2, ", "in CLOSE_WAIT until it closes too"],
    ),
    ("fin_unacknowledged", &["FIN by ", "after the one before: not acknowledged so far"]),
    ("churn", &["the tuple comes back ", "closes first, "]),
    ("mirror_fault", &["one of its directions was not seen"]),
];

/// Rules whose findings are about few connections: a replay of the file gives them again.
pub const FEW: [&str; 4] = ["connect_stalled", "listener_gap", "half_closed", "fin_unacknowledged"];

/// A name, segments, and the options that they are to be run with.
type TestCase = (String, Vec<Record>, Vec<&'static str>);

/// An event and the file that belongs to it.
struct Kept {
    event: Value,
    file: PathBuf,
    options: Vec<String>,
}

impl Kept {
    fn rule(&self) -> &str {
        self.event["alert"]["signature"].as_str().expect("a rule")
    }

    fn kind(&self) -> &str {
        self.event["alert"]["evidence_kind"].as_str().expect("a kind")
    }
}

/// Runs over these segments with evidence in `folder`: the last event of each alert that is no
/// collision's.
fn keep(name: &str, records: &[Record], options: &[&str], folder: &Path) -> Vec<Kept> {
    let file = folder.join(format!("{name}.pcap"));
    write(&file, records);
    let evidence = folder.join(name);
    let all = [options, &["--evidence-dir", text(&evidence)]].concat();
    let events = last_by_id(alerts_of(&file, &all)).into_values();
    let of_rules = events.filter(|event| event["alert"]["signature"] != "tuple_reuse");
    let kept = of_rules.map(|event| {
        let name = event["alert"]["evidence"].as_str();
        let name = name.unwrap_or_else(|| panic!("no evidence: {event:#}"));
        Kept {
            file: evidence.join(name),
            event,
            options: options.iter().map(|option| (*option).to_owned()).collect(),
        }
    });
    kept.collect()
}

/// The scripts' segments and options by their names, and a source that runs out of ports.
fn cases() -> Vec<TestCase> {
    let name = |path: &Path| path.file_stem().expect("a name").to_string_lossy().into_owned();
    let mut cases: Vec<_> = scripts()
        .iter()
        .map(|path| {
            let (records, options) = script(path);
            (name(path), records, options)
        })
        .collect();
    let range = vec!["--port-range", "10.0.0.1/32=40000-40511"];
    cases.push(("port_pressure".to_owned(), pressed(), range));
    cases
}

/// The case that shows a rule best.
fn of_rule<'a>(cases: &'a [TestCase], rule: &str) -> &'a TestCase {
    let is_it = |(name, ..): &&TestCase| match rule {
        "mirror_fault" => name == "mirror_fault_one_direction",
        "churn" => name == "churn_client_out_of_ports",
        _ => name == rule,
    };
    cases.iter().find(is_it).expect("a script of the rule")
}

/// 460 of 512 ports taken within ten seconds, and a minute of silence.
fn pressed() -> Vec<Record> {
    let mut records = Vec::new();
    for n in 0..460u16 {
        let mut syn = Record {
            at_ns: BEGIN_NS + u64::from(n) * 20_000_000,
            src_port: 40_000 + n,
            dst_port: 80,
            seq: 1000,
            flags: flags::SYN,
            window: 500,
            ttl: 64,
            ..Record::default()
        };
        syn.src_addr[10..].copy_from_slice(&[0xff, 0xff, 10, 0, 0, 1]);
        syn.dst_addr[10..].copy_from_slice(&[0xff, 0xff, 10, 0, 0, 2]);
        let syn_ack = Record {
            at_ns: syn.at_ns + 1_000_000,
            src_addr: syn.dst_addr,
            dst_addr: syn.src_addr,
            src_port: syn.dst_port,
            dst_port: syn.src_port,
            seq: 9000,
            ack: 1001,
            flags: flags::SYN | flags::ACK,
            ..syn
        };
        let ack =
            Record { at_ns: syn.at_ns + 2_000_000, seq: 1001, ack: 9001, flags: flags::ACK, ..syn };
        records.extend([syn, syn_ack, ack]);
    }
    records.sort_by_key(|record| record.at_ns);
    records
}

/// Facts that the file's packets must give again: without those learned from other connections.
pub fn own_facts(event: &Value) -> Value {
    let rule = event["alert"]["signature"].as_str().expect("a rule");
    let mut facts = event[rule].clone();
    let object = facts.as_object_mut().expect("facts");
    object.retain(|name, _| !["other_leg", "legs", "until"].contains(&name.as_str()));
    facts
}

/// Requires that a replay of the file gives the event again.
#[track_caller]
fn assert_replays(kept: &Kept) {
    let limits = kept.options.iter().filter(|option| *option == "--vlan-key");
    let limits: Vec<&str> = limits.map(String::as_str).collect();
    let again = last_by_id(alerts_of(&kept.file, &limits));
    let event = &kept.event;
    let id = event["alert"]["id"].as_str().expect("an id");
    let replayed = again.get(id).unwrap_or_else(|| panic!("{id} is not found again: {event:#}"));
    for key in ["signature", "category", "state"] {
        assert_eq!(replayed["alert"][key], event["alert"][key], "{key}: {event:#}");
    }
    assert_eq!(own_facts(replayed), own_facts(event), "{event:#}");
    assert_eq!(replayed["timestamp"], event["timestamp"], "{event:#}");
}

#[test]
fn every_rule_leaves_evidence_and_that_of_few_connections_gives_the_finding_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut kinds: BTreeMap<(String, String), u32> = BTreeMap::new();
    for (name, records, options) in cases() {
        for kept in keep(&name, &records, &options, dir.path()) {
            let complete = kept.event["alert"]["evidence_complete"] == true;
            assert_eq!(complete, kept.kind() == "whole", "{:#}", kept.event);
            if complete {
                assert_replays(&kept);
            } else {
                assert_eq!(kept.kind(), "part", "{name}: {:#}", kept.event);
                assert!(!FEW.contains(&kept.rule()), "{name}: {:#}", kept.event);
            }
            *kinds.entry((kept.rule().to_owned(), kept.kind().to_owned())).or_default() += 1;
        }
    }
    println!("{kinds:#?}");
    let seen: BTreeSet<&str> = kinds.keys().map(|(rule, _)| rule.as_str()).collect();
    let expected: BTreeSet<&str> = COMMENTS.iter().map(|(rule, _)| *rule).collect();
    assert_eq!(seen, expected);
}

/// A minute is long: other connections push the close out of the history.
#[test]
fn half_closed_outlives_the_history() {
    let dir = tempfile::tempdir().expect("a folder");
    let cases = cases();
    let (_, mut records, _) =
        cases.into_iter().find(|(name, ..)| name == "half_closed").expect("its script");
    records.extend(flood(BEGIN_NS + 30_000_000_000, 1));
    records.sort_by_key(|record| record.at_ns);
    let kept = keep("flooded", &records, &["--history", "64"], dir.path());
    let kept = kept.iter().find(|kept| kept.rule() == "half_closed").expect("its evidence");
    assert_eq!(kept.kind(), "rebuilt");
    assert_replays(kept);
}

/// All comments of a file that tshark has no complaint about; none without tshark.
#[track_caller]
pub fn comments_shown(file: &Path) -> Option<String> {
    let whole = tshark(file, &["-V"])?;
    for complaint in ["Malformed", "Expert Info (Error", "incorrect"] {
        assert!(!whole.contains(complaint), "{}: {complaint}\n{whole}", file.display());
    }
    tshark(file, &["-T", "fields", "-e", "frame.comment"])
}

#[test]
fn tshark_shows_every_rules_comments() {
    let dir = tempfile::tempdir().expect("a folder");
    let cases = cases();
    for (rule, comments) in COMMENTS {
        let (name, records, options) = of_rule(&cases, rule);
        let kept = keep(name, records, options, dir.path());
        let kept = kept.iter().find(|kept| kept.rule() == rule).expect("its evidence");
        let Some(shown) = comments_shown(&kept.file) else { return };
        for comment in comments {
            assert!(shown.contains(comment), "{rule}: {comment}\n{shown}");
        }
        let bytes = std::fs::read(&kept.file).expect("a readable file");
        let title = String::from_utf8_lossy(&bytes[..bytes.len().min(1000)]).into_owned();
        let scope = match kept.kind() {
            "whole" => "Replayed alone, these packets give it again.",
            _ => "A sample: packets of ",
        };
        assert!(title.contains(scope), "{title}");
    }
}

/// The packet blocks of a pcapng file in our byte order.
fn packets(file: &Path) -> usize {
    let bytes = std::fs::read(file).expect("a readable file");
    let (mut place, mut packets) = (0, 0);
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    while place < bytes.len() {
        packets += usize::from(number(place) == 6);
        place += number(place + 4) as usize;
    }
    packets
}

#[test]
fn files_are_bounded_whatever_the_rule() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut cut = 0;
    let cases = cases();
    for (rule, _) in COMMENTS {
        let (name, records, options) = of_rule(&cases, rule);
        let options = [options.as_slice(), &["--evidence-packets", "16"]].concat();
        for kept in keep(name, records, &options, dir.path()) {
            let packets = packets(&kept.file);
            assert!((1..=16).contains(&packets), "{name}: {packets} packets");
            cut += usize::from(packets > 12);
        }
    }
    assert!(cut > 0, "none came near the limit");
}

#[test]
fn redacted_files_of_every_rule_tell_no_address() {
    let dir = tempfile::tempdir().expect("a folder");
    let key = dir.path().join("key");
    std::fs::write(&key, [7; 32]).expect("a writable folder");
    // Addresses whose bytes no option or number in the scripts has.
    let unlike = |addr: [u8; 16]| {
        let mut addr = addr;
        addr[12..].iter_mut().zip([0xc1, 0xb5, 0x5b, 0x9d]).for_each(|(byte, key)| *byte ^= key);
        addr
    };
    let mut rules = BTreeSet::new();
    let cases = cases();
    for (rule, _) in COMMENTS {
        let (name, records, _) = of_rule(&cases, rule);
        let mut records = records.clone();
        for record in &mut records {
            record.src_addr = unlike(record.src_addr);
            record.dst_addr = unlike(record.dst_addr);
        }
        let ends = records.iter().flat_map(|record| [record.src_addr, record.dst_addr]);
        let addresses: BTreeSet<[u8; 16]> = ends.collect();
        let range = "203.181.91.156/32=40000-40511";
        let options = ["--redact", "--redact-key", text(&key), "--port-range", range];
        for kept in keep(name, &records, &options, dir.path()) {
            rules.insert(kept.rule().to_owned());
            let bytes = std::fs::read(&kept.file).expect("a readable file");
            let said = String::from_utf8_lossy(&bytes).into_owned() + &kept.event.to_string();
            for addr in &addresses {
                let four = &addr[12..];
                assert!(!bytes.windows(4).any(|bytes| bytes == four), "{name}: {four:?}");
                let word = std::net::Ipv6Addr::from(*addr).to_canonical().to_string();
                assert!(!said.contains(&word), "{name}: {word} in {said}");
            }
        }
    }
    assert_eq!(rules.len(), COMMENTS.len(), "{rules:?}");
}
