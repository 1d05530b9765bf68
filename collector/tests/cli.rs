//! The command line: exit status, usage errors, and a reader of its output that goes away.

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use common::{capture, run, run_bare, stderr, stdout, xdpwatch};

#[test]
fn exit_status_three_only_when_asked_for() {
    let file = capture("server-side.pcap");
    let file = file.to_str().unwrap();
    assert_eq!(run(&["-r", file]).status.code(), Some(0));
    assert_eq!(run(&["-r", file, "--exit-code"]).status.code(), Some(3));
    // The collision is behind the first ten packets.
    let output = run(&["-r", file, "--exit-code", "--count", "10"]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
}

#[test]
fn wrong_usage_is_status_two_and_says_what_is_right() {
    let cases: &[(&[&str], &str)] = &[
        (&[], "--read"),
        (&["-r", "x", "--batch", "65"], "1..=64"),
        (&["-r", "x", "--horizon", "5d"], "90s"),
        (&["-r", "x", "--workers", "0"], "1..=256"),
        (&["-r", "x", "--sensor", ""], "give a name that can be seen"),
        (&["-r", "x", "--sensor", " "], "give a name that can be seen"),
        #[cfg(feature = "xdp")]
        (&["-r", "x", "--mode", "tap"], "--mode is for live capture: leave it out with -r"),
        #[cfg(feature = "xdp")]
        (&["-i", "a", "--state-file", "/tmp"], "--state-file /tmp: it is a folder; give the name"),
        #[cfg(feature = "xdp")]
        (&["-T", "-i", "a", "--state-file", "/dev/null"], "no regular file; give another name"),
        #[cfg(feature = "xdp")]
        (
            &["-r", "x", "-i", "a", "--consume"],
            "--iface, --consume are for live capture: leave them out",
        ),
    ];
    for (args, hint) in cases {
        let output = run_bare(args);
        assert!(stderr(&output).lines().count() < 10, "{}", stderr(&output));
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains(hint), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn more_tuples_than_there_is_memory_for_are_refused() {
    let file = capture("server-side.pcap");
    for workers in ["1", "2"] {
        let limited = "ulimit -v 8000000; exec \"$@\"";
        let output = Command::new("sh")
            .args(["-c", limited, "sh", env!("CARGO_BIN_EXE_xdpwatch"), "-r"])
            .arg(&file)
            .args(["--workers", workers, "--max-tuples", "100000000"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
        let said = "--max-tuples 100000000 needs 9.7 GB of memory";
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    }
}

#[cfg(feature = "xdp")]
#[test]
fn a_subcommand_stands_alone_and_needs_no_input() {
    let output = run_bare(&["doctor", "--iface", "no-such-if0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no interface no-such-if0"), "{}", stderr(&output));
    let output = run_bare(&["doctor"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--iface"), "{}", stderr(&output));
    let output = run_bare(&["-r", "x", "doctor", "--iface", "lo"]);
    assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
}

#[test]
fn a_bad_filter_of_the_log_is_one_warning_in_a_run() {
    let file = capture("server-side.pcap");
    let mut command = xdpwatch();
    command.args(["-r", file.to_str().unwrap()]).env("XDPWATCH_LOG", "xdpwatch=loud");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let said = stderr(&output);
    assert!(said.starts_with("xdpwatch: environment XDPWATCH_LOG: it is no log filter"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn the_name_of_a_file_does_not_steer_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a\u{1b}[31m.pcap");
    std::fs::copy(capture("server-side.pcap"), &path).unwrap();
    let missing = dir.path().join("b\u{1b}[31m.pcap");
    let said = stdout(&run(&["-r", path.to_str().unwrap()]));
    let wrong = stderr(&run(&["-r", missing.to_str().unwrap()]));
    for (said, name) in [(said, "a\\u{1b}[31m.pcap"), (wrong, "b\\u{1b}[31m.pcap")] {
        assert!(said.contains(name) && !said.contains('\u{1b}'), "{said:?}");
    }
}

#[test]
fn a_file_without_its_flag_names_the_flag() {
    for (args, hint) in [
        (&["a.pcap"][..], "to read a capture: -r a.pcap"),
        (&["-r", "a.pcap", "b.pcap"], "give -r before each file: -r b.pcap"),
    ] {
        let output = run_bare(args);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(hint), "{args:?}: {}", stderr(&output));
    }
    let near = run_bare(&["explian"]);
    assert!(!stderr(&near).contains("-r explian"), "{}", stderr(&near));
}

#[test]
fn help_names_units_and_defaults() {
    let help = stdout(&run(&["--help"]));
    for part in ["300s", "4000000", "Exit status", "--json"] {
        assert!(help.contains(part), "{part} is not in: {help}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let file = capture("server-side.pcap");
    let mut child = xdpwatch()
        .args(std::iter::repeat_n(["-r", file.to_str().unwrap(), "--json"], 1).flatten())
        .args(std::iter::repeat_n(["-r", file.to_str().unwrap()], 500).flatten())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with('{'), "{line}");
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}
