//! Runs every packet script in `scripts/`: all findings expected, in order, none besides.
//!
//! Each segment becomes a frame and goes through the real parser, so that a script tests wire and
//! state at once. A script that says `// only: RULE` is about that rule's findings alone.

use std::path::Path;

use xdpwatch_core::aggregate::Aggregate;
use xdpwatch_core::detect::Limits;
use xdpwatch_core::finding::{Fact, Finding, State};
use xdpwatch_core::host::{Hosts, Model};
use xdpwatch_core::prefix::Prefix;
use xdpwatch_core::watch::{Config, Output, Watch};
use xdpwatch_prog::record::{Record, marks};
use xdpwatch_prog::wire::{Link, parse_record};
use xdpwatch_tools::frames;
use xdpwatch_tools::script::{self, Expect, Kind};

const SEEDS: [u64; 4] = [1, 2, 3, 4];

fn config(text: &str) -> Config {
    Config {
        max_tuples: 4096,
        horizon_ns: 300_000_000_000,
        vlan_key: text.contains("// option: vlan-key"),
        carries_data: text.contains("// option: data"),
        all_reuse: text.contains("// option: all-reuse"),
        hosts: hosts(text),
        seeds: SEEDS,
    }
}

/// The models that a script gives to hosts: `// host-model: ADDRESS=MODEL`.
fn hosts(text: &str) -> Hosts {
    let choice = |line: &str| {
        let (address, model) = line.strip_prefix("// host-model: ")?.split_once('=')?;
        let octets = match address.parse().expect("an address") {
            std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            std::net::IpAddr::V6(v6) => v6.octets(),
        };
        Some((Prefix::new(octets, 128), Model::named(model).expect("a model")))
    };
    Hosts { configured: text.lines().filter_map(choice).collect() }
}

/// A segment as it comes off the wire.
fn through_the_parser(record: &Record) -> Record {
    let frame = frames::ethernet(record);
    let cut = if record.has_mark(marks::OPTIONS_CUT) { frames::CUT_LEN } else { 0 };
    let captured = &frame[..frame.len() - cut];
    let parsed = parse_record(captured, frame.len() as u32, record.at_ns, Link::Ethernet);
    let parsed = parsed.expect("a script's segment is a valid frame");
    Record { vni: record.vni, ..parsed }
}

fn word(fact: Option<Fact>) -> String {
    match fact {
        None => "(absent)".to_owned(),
        Some(Fact::Unknown) => "null".to_owned(),
        Some(Fact::Flag(flag)) => flag.to_string(),
        Some(Fact::Number(number)) => number.to_string(),
        Some(Fact::Word(word)) => word.to_owned(),
        Some(Fact::Id(id)) => id.to_string(),
        Some(Fact::Time(ns)) => format!("{:.6}", (ns - script::BEGIN_NS) as f64 / 1e9),
        Some(Fact::Address(octets)) => std::net::Ipv6Addr::from(octets).to_canonical().to_string(),
    }
}

fn value(finding: &Finding, label: &str) -> String {
    match label {
        "at" => format!("{:.6}", (finding.at_ns - script::BEGIN_NS) as f64 / 1e9),
        "severity" => finding.severity.to_string(),
        "confidence" => finding.confidence.percent.to_string(),
        _ => word(finding.fact(label)),
    }
}

fn state(finding: &Finding) -> &'static str {
    match finding.state {
        State::Firing => "firing",
        State::Resolved => "resolved",
    }
}

fn mismatch(finding: &Finding, expect: &Expect) -> Option<String> {
    if finding.rule.name != expect.rule || state(finding) != expect.state {
        return Some(format!("got {} {}", state(finding), finding.rule.name));
    }
    let wrong: Vec<String> = expect
        .facts
        .iter()
        .filter(|(label, expected)| value(finding, label) != *expected)
        .map(|(label, expected)| {
            format!("{label} is {}, expected {expected}", value(finding, label))
        })
        .collect();
    (!wrong.is_empty()).then(|| wrong.join("; "))
}

fn run(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let lines = script::parse(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    let only = text.lines().find_map(|line| line.strip_prefix("// only: "));
    let mut watch = Watch::new(config(&text));
    let mut aggregate = Aggregate::new(&Limits::default(), SEEDS);
    let mut out: Vec<Output> = Vec::new();
    let mut findings: Vec<Finding> = Vec::new();
    let mut at_ns = script::BEGIN_NS;
    let mut ended = false;
    let place = |number| format!("{}:{number}", path.display());
    for line in &lines {
        match &line.kind {
            Kind::Segment(record) => {
                at_ns = record.at_ns;
                watch.observe(&[through_the_parser(record)], &mut out);
            }
            Kind::End(end_ns) => {
                at_ns = *end_ns;
                watch.finish(at_ns, &mut out);
                ended = true;
            }
            Kind::Expect(expect) => {
                if findings.is_empty() {
                    return Err(format!("{}: nothing was found", place(line.number)));
                }
                let finding = findings.remove(0);
                if let Some(wrong) = mismatch(&finding, expect) {
                    return Err(format!("{}: {wrong}\n{finding:#?}", place(line.number)));
                }
                continue;
            }
        }
        if let Some(unexpected) = findings.first() {
            return Err(format!("{}: not expected before: {unexpected:#?}", place(line.number)));
        }
        for output in out.drain(..) {
            aggregate.handle(&output, &mut |finding| findings.push(finding));
        }
        if ended {
            aggregate.finish(at_ns, &mut |finding| findings.push(finding));
        } else {
            aggregate.pass_time(at_ns, &mut |finding| findings.push(finding));
        }
        findings.retain(|finding| only.is_none_or(|rule| finding.rule.name == rule));
    }
    if !matches!(lines.last().map(|line| &line.kind), Some(Kind::End(_) | Kind::Expect(_))) {
        watch.finish(at_ns, &mut out);
        for output in out.drain(..) {
            aggregate.handle(&output, &mut |finding| findings.push(finding));
        }
        aggregate.finish(at_ns, &mut |finding| findings.push(finding));
    }
    findings.retain(|finding| only.is_none_or(|rule| finding.rule.name == rule));
    match findings.first() {
        Some(unexpected) => Err(format!("{}: at the end: {unexpected:#?}", path.display())),
        None => Ok(()),
    }
}

#[test]
fn every_script_gives_exactly_its_findings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("the scripts' folder is there")
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 20, "{} scripts", paths.len());
    let failures: Vec<String> = paths.iter().filter_map(|path| run(path).err()).collect();
    assert!(failures.is_empty(), "\n{}", failures.join("\n\n"));
}
