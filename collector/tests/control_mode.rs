//! What `--select control` leaves out changes no finding: every packet script and every shipped capture,
//! once as a whole and once through the program's selection. Those that do need data segments are
//! listed, with the reason. (The lab's cases, as recorded: `lab_cases`.)

mod common;

use std::path::{Path, PathBuf};

use common::trace::Trace;
use xdpwatch_core::detect::Limits;
use xdpwatch_core::finding::Finding;
use xdpwatch_core::host::{Hosts, Model};
use xdpwatch_core::prefix::Prefix;
use xdpwatch_core::watch::Config;
use xdpwatch_tools::frames;
use xdpwatch_tools::mix::Mix;
use xdpwatch_tools::script::{self, Kind};

/// Traces whose findings differ, and why.
const NEED_DATA: &[(&str, &str)] = &[(
    "mirror_fault_acknowledged_unseen.pkt",
    "loss told by acknowledgments of data that was not seen: only where all data is looked at",
)];

fn of_script(path: &Path) -> Trace {
    let text = std::fs::read_to_string(path).unwrap();
    let option = |name: &str| text.contains(&format!("// option: {name}"));
    let config = Config {
        vlan_key: option("vlan-key"),
        carries_data: option("data"),
        all_reuse: option("all-reuse"),
        hosts: hosts(&text),
        ..Config::default()
    };
    let mut trace = Trace::new(config, Limits::default());
    for line in script::parse(&text).unwrap() {
        match line.kind {
            Kind::Segment(record) => {
                let frame = frames::ethernet(&record);
                trace.add(&frame, frame.len() as u32, record.at_ns);
            }
            Kind::End(end_ns) => trace.end_ns = end_ns,
            Kind::Expect(_) => {}
        }
    }
    trace
}

fn of_capture(path: &Path) -> Trace {
    let config = Config { carries_data: true, ..Config::default() };
    let mut trace = Trace::new(config, Limits::default());
    trace.add_capture(path);
    trace
}

/// Connections that carry data for minutes, come back on their tuples, and are told of when accepted.
fn of_mix() -> Trace {
    let config = Config { all_reuse: true, ..Config::default() };
    let mut trace = Trace::new(config, Limits::default());
    let mut mix = Mix::new(300).with_data(20);
    for _ in 0..60_000 {
        let record = mix.next_record();
        let frame = frames::ethernet(&record);
        trace.add(&frame, frame.len() as u32, record.at_ns);
    }
    trace
}

/// The models that a script gives to hosts.
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

fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(&folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| endings.iter().any(|ending| path.to_string_lossy().ends_with(ending)));
    paths.sort();
    assert!(!paths.is_empty(), "{}", folder.display());
    paths
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[test]
fn findings_are_the_same_without_what_the_program_leaves_out() {
    let scripts = files("core/tests/scripts", &[""]);
    let captures =
        [files("tests/captures", &[".pcap"]), files("../tools/captures", &[".pcap", ".pcap.gz"])]
            .concat();
    let mix = PathBuf::from("mix");
    let scripts = scripts.iter().map(|path| (path, of_script(path)));
    let captures = captures.iter().map(|path| (path, of_capture(path)));
    let mix = std::iter::once((&mix, of_mix()));
    let (mut differ, mut left_out, mut found) = (Vec::new(), 0, 0);
    for (path, trace) in scripts.chain(captures).chain(mix) {
        let (all, control) = (trace.findings(true), trace.findings(false));
        left_out += trace.left_out();
        found += all.len();
        if all != control {
            let count = |findings: &[Finding]| findings.len();
            println!("{}: {} and {} findings", name(path), count(&all), count(&control));
            let first = all.iter().zip(&control).find(|(a, b)| a != b);
            println!("{first:#?}");
            differ.push(name(path));
        }
    }
    println!("{found} findings, {left_out} segments left out");
    assert!(found > 100 && left_out > 10_000, "{found} findings, {left_out} segments left out");
    let listed: Vec<_> = NEED_DATA.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(differ, listed, "traces whose findings need data segments");
}
