//! Evidence files, of collisions and of every other rule, from the packet scripts.

#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "xdp")]
mod live;
mod reuse;
mod rules;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{alerts, run, stderr};
use serde_json::Value;
use xdpwatch_prog::record::Record;
use xdpwatch_tools::script::{self, Kind};
use xdpwatch_tools::{frames, pcap};

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

/// Alert events of a run over one file.
pub fn alerts_of(path: &Path, more: &[&str]) -> Vec<Value> {
    let fixed = ["--json", "--max-tuples", "4096", "-r", text(path)];
    let output = run(&[&fixed, more].concat());
    assert!(output.status.success(), "{}: {}", path.display(), stderr(&output));
    alerts(&output).iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The last event of each alert, by id.
pub fn last_by_id(events: Vec<Value>) -> BTreeMap<String, Value> {
    let id = |event: &Value| event["alert"]["id"].as_str().expect("an id").to_owned();
    events.into_iter().map(|event| (id(&event), event)).collect()
}

/// A script's segments, and the options that it is to be run with.
pub fn script(path: &Path) -> (Vec<Record>, Vec<&'static str>) {
    let source = std::fs::read_to_string(path).expect("a readable script");
    let mut options = Vec::new();
    for (mark, option) in [("vlan-key", "--vlan-key"), ("all-reuse", "--all-reuse")] {
        if source.contains(&format!("// option: {mark}")) {
            options.push(option);
        }
    }
    let lines = script::parse(&source).expect("a script");
    let records = lines.into_iter().filter_map(|line| match line.kind {
        Kind::Segment(record) => Some(*record),
        _ => None,
    });
    (records.collect(), options)
}

/// A capture of these segments.
pub fn write(path: &Path, records: &[Record]) {
    let frames: Vec<_> = records.iter().map(|r| (r.at_ns, frames::ethernet(r))).collect();
    pcap::write(path, frames.iter().map(|(at_ns, frame)| (*at_ns, frame.as_slice())))
        .expect("a writable folder");
}

/// The packet scripts.
pub fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("core/tests/scripts");
    let entries = std::fs::read_dir(folder).expect("the scripts' folder is there");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    paths
}

/// tshark's standard output; nothing may be on standard error.
pub fn tshark(file: &Path, more: &[&str]) -> Option<String> {
    let Ok(output) = Command::new("tshark").args(["-r", text(file)]).args(more).output() else {
        println!("SKIPPED: tshark is not installed (tools/setup --test)");
        return None;
    };
    let errors = stderr(&output);
    let complaints: Vec<&str> =
        errors.lines().filter(|line| !line.contains("Running as user")).collect();
    assert!(output.status.success() && complaints.is_empty(), "{errors}");
    Some(common::stdout(&output))
}
