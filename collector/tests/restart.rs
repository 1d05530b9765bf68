//! A restart between the close of a connection and the SYN that comes back on its tuple: the finding is
//! the one without a restart. Needs root; says so without.
#![cfg(feature = "xdp")]

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use std::thread;
use std::time::Duration;

use common::net::{Net, can_run};
use common::{alerts, collision, stderr, stdout};
use serde_json::Value;

const CLIENT: (u32, u16) = (0x0a00_0001, 40_000);
const SERVER: (u32, u16) = (0x0a00_0002, 80);

/// Frames of a collision before the tuple comes back.
const FIRST_CONNECTION: usize = 6;

/// Runs the sensor while these frames are sent, slowly enough for their order to be kept.
fn run_with(net: &Net, args: &[&str], frames: &[Vec<u8>]) -> Output {
    let mut sensor = net.start(args);
    for frame in frames {
        net.send(std::slice::from_ref(frame));
        // SYNs that come closer together are copies of one.
        thread::sleep(Duration::from_millis(10));
    }
    thread::sleep(Duration::from_millis(400));
    let output = sensor.end();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    output
}

fn events(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The finding without what follows the clock's drift, and without what a restart may take.
fn comparable(event: &Value) -> Value {
    let mut reuse = event["tuple_reuse"].clone();
    reuse["holder"].as_object_mut().expect("a holder").remove("deadline");
    serde_json::json!({ "id": event["alert"]["id"], "flow_id": event["flow_id"], "reuse": reuse })
}

#[test]
fn a_collision_is_found_across_a_restart() {
    if !can_run("a_collision_is_found_across_a_restart") {
        return;
    }
    let net = Net::new(2);
    let dir = tempfile::tempdir().expect("a folder");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("the folder is ours");
    let path = |name: &str| dir.path().join(name).to_str().expect("a plain path").to_owned();
    let (state, first, second) = (path("made/state"), path("1.pcapng"), path("2.pcapng"));
    let frames: Vec<_> = collision(CLIENT, SERVER, 0).into_iter().map(|(_, f)| f).collect();
    let (before, after) = frames.split_at(FIRST_CONNECTION);
    // The folder is made for the user that the sensor goes on as.
    let common = ["-i", "rx0", "--json", "--user", "nobody", "--state-file", &state];
    let output = run_with(&net, &[&common[..], &["-w", &first]].concat(), before);
    assert!(alerts(&output).is_empty(), "{}", stdout(&output));
    let mode = fs::metadata(&state).expect("the state").permissions().mode();
    assert_eq!(mode & 0o777, 0o640, "it says who talked to whom");
    // Other workers, other hash seeds.
    let args = [&common[..], &["-w", &second, "--mode", "tap"]].concat();
    let output = run_with(&net, &args, after);
    let events = events(&output);
    let found: Vec<_> = events.iter().filter(|event| event["event_type"] == "alert").collect();
    assert_eq!(found.len(), 2, "{}{}", stdout(&output), stderr(&output));
    let resumed = events.iter().find(|event| event["event_type"] == "capture").expect("the gap");
    assert_eq!(resumed["capture"]["reason"], "restart");
    let reasons = found[0]["alert"]["confidence_reasons"].to_string();
    assert!(reasons.contains("capture_gap"), "{reasons}");
    // Without the restart: both captures as one.
    let whole = path("whole.pcapng");
    let sections = [first, second].map(|name| fs::read(name).expect("a capture")).concat();
    fs::write(&whole, sections).expect("a writable folder");
    let replayed = common::run(&["-r", &whole, "--json"]);
    let without: Vec<Value> =
        alerts(&replayed).iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(comparable(found[0]), comparable(&without[0]));
    // The second run has written its own: the collision's holder is still in it.
    assert!(fs::exists(&state).expect("a readable folder"));
}

#[test]
fn a_damaged_state_is_kept_aside_and_the_start_goes_on() {
    if !can_run("a_damaged_state_is_kept_aside_and_the_start_goes_on") {
        return;
    }
    let net = Net::new(1);
    let dir = tempfile::tempdir().expect("a folder");
    let state = dir.path().join("state");
    fs::write(&state, b"\x93xdpwatch state\0and no more").expect("a writable folder");
    let args = ["-i", "rx0", "--json", "--state-file", state.to_str().expect("a plain path")];
    let output = run_with(&net, &args, &[]);
    assert!(stderr(&output).contains("the end is missing; it was renamed to"));
    assert_eq!(fs::read_dir(dir.path()).expect("the folder").count(), 2, "that and the new one");
}

#[test]
fn what_cannot_be_written_is_said_at_once_and_all_of_it_at_the_end() {
    if !can_run("what_cannot_be_written_is_said_at_once_and_all_of_it_at_the_end") {
        return;
    }
    let net = Net::new(1);
    let dir = tempfile::tempdir().expect("a folder");
    let state = dir.path().join("state");
    let name = state.to_str().expect("a plain path");
    let args = ["-i", "rx0", "-w", "/dev/full", "--user", "root", "--state-file", name];
    let mut sensor = net.start(&args);
    thread::sleep(Duration::from_millis(300));
    fs::write(&state, "somebody's").expect("a writable folder");
    let output = sensor.end();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let at_once = said.find("no more headers go into /dev/full (-w)").expect(&said);
    let headers = said.find("writing headers (-w) failed").expect(&said);
    let tuples = said.find("it is no state file of xdpwatch").expect(&said);
    assert!(at_once < headers && headers < tuples, "{said}");
    assert_eq!(fs::read(&state).expect("the file"), b"somebody's");
    assert_eq!(fs::read_dir(dir.path()).expect("the folder").count(), 1, "nothing beside it");
}
