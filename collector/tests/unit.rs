//! The systemd unit: systemd finds no mistake in it, and it exposes little.
#![cfg(feature = "xdp")]

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{stderr, stdout};

/// The most that `systemd-analyze security` may find exposed, of 10.
const EXPOSURE_MAX: f64 = 2.4;

/// `systemd-analyze` about the unit with the tests' binary in it; none, said loudly, without it.
fn analyze(args: &[&str]) -> Option<Output> {
    let packaged =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd/xdpwatch.service");
    let text = fs::read_to_string(packaged).unwrap();
    let text = text.replace("/usr/bin/xdpwatch", env!("CARGO_BIN_EXE_xdpwatch"));
    let dir = tempfile::tempdir().unwrap();
    let unit: PathBuf = dir.path().join("xdpwatch.service");
    fs::write(&unit, text).unwrap();
    let output = Command::new("systemd-analyze").args(args).arg(&unit).output();
    if output.is_err() {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: systemd-analyze {}: not installed (tools/setup --test)",
            args[0]
        );
    }
    output.ok()
}

#[test]
fn systemd_finds_no_mistake_in_the_unit() {
    let Some(output) = analyze(&["verify", "--man=no"]) else { return };
    let said = stderr(&output);
    // Other units of the machine are none of ours.
    let about_it: Vec<_> = said.lines().filter(|line| line.contains("xdpwatch")).collect();
    assert!(about_it.is_empty(), "{said}");
    assert!(output.status.success(), "{said}");
}

#[test]
fn the_unit_exposes_little() {
    let Some(output) = analyze(&["security", "--offline=true", "--no-pager"]) else { return };
    let text = stdout(&output);
    let line = text.lines().find(|line| line.contains("Overall exposure level"));
    let line = line.unwrap_or_else(|| panic!("no figure: {text}{}", stderr(&output)));
    let figure: f64 = line
        .split_whitespace()
        .find_map(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("no figure: {line}"));
    println!("systemd-analyze security: {figure} of 10");
    assert!(figure <= EXPOSURE_MAX, "{text}");
}
