//! An interface goes down, loses its carrier, is removed and made anew, changes, loses its program:
//! capturing goes on by itself, the gap is told, and what was remembered stays. Needs root; says so
//! without.
#![cfg(all(feature = "api", feature = "xdp"))]

mod common;

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use common::http::get;
use common::net::{Net, can_run, detach_by_force};
use common::{collision, stderr, stdout};
use serde_json::Value;

const CLIENT: (u32, u16) = (0x0a00_0001, 40_000);
const SERVER: (u32, u16) = (0x0a00_0002, 80);

/// Frames of a collision before the tuple comes back.
const FIRST_CONNECTION: usize = 6;

fn is_ready(net: &Net) -> bool {
    let at: SocketAddr = "127.0.0.1:9435".parse().expect("an address");
    net.inside(|| get(at, "/readyz")).status == 200
}

#[track_caller]
fn wait_until(net: &Net, ready: bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while is_ready(net) != ready {
        assert!(Instant::now() < until, "it does not become ready: {ready}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn send(net: &Net, frames: &[Vec<u8>]) {
    for frame in frames {
        net.send(std::slice::from_ref(frame));
        // SYNs that come closer together are copies of one.
        thread::sleep(Duration::from_millis(10));
    }
}

/// A collision whose first connection closed before the gap that `disturb` makes is found after it; what
/// is told of the gaps, by state and reason.
#[track_caller]
fn found_across(net: &Net, args: &[&str], disturb: impl FnOnce(&Net)) -> Vec<(String, String)> {
    let frames: Vec<_> = collision(CLIENT, SERVER, 0).into_iter().map(|(_, f)| f).collect();
    let (before, after) = frames.split_at(FIRST_CONNECTION);
    let mut sensor = net.start(&[&["-i", "rx0", "--json"], args].concat());
    wait_until(net, true);
    send(net, before);
    disturb(net);
    wait_until(net, true);
    send(net, after);
    thread::sleep(Duration::from_millis(300));
    let output = sensor.end();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let schema: Value = serde_json::from_str(xdpwatch::report::json::SCHEMA).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let text = stdout(&output);
    let events: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for event in &events {
        let wrong: Vec<_> = validator.iter_errors(event).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{wrong:?}\n{event}");
    }
    let found: Vec<_> = events.iter().filter(|event| event["event_type"] == "alert").collect();
    assert_eq!(found.len(), 2, "{text}{}", stderr(&output));
    let logged = stderr(&output);
    let count = |what: &str| logged.matches(what).count();
    assert!(count("nothing is captured any more") > 0, "{logged}");
    assert_eq!(count("nothing is captured any more"), count("capturing goes on"), "{logged}");
    assert_eq!(
        (&found[0]["tuple_reuse"]["cause"], &found[1]["tuple_reuse"]["answers"]),
        (&"paws".into(), &3.into())
    );
    let reasons = found[0]["alert"]["confidence_reasons"].to_string();
    assert!(reasons.contains("capture_gap"), "{reasons}");
    let stats = events.iter().rfind(|event| event["event_type"] == "stats").expect("statistics");
    let capture = &stats["stats"]["capture"];
    let of = |name: &str| capture[name].as_u64().expect("a counter");
    assert_eq!(of("seen"), of("selected") + of("dropped") + of("passed"), "{capture}");
    let arrived = of("received") + of("rx_ring_full") + of("rx_dropped");
    assert_eq!(of("selected"), arrived + of("redirect_errors"), "{capture}");
    let word =
        |event: &Value, key: &str| event["capture"][key].as_str().expect("a word").to_owned();
    let told: Vec<_> = events
        .iter()
        .filter(|event| event["event_type"] == "capture")
        .map(|event| (word(event, "state"), word(event, "reason")))
        .collect();
    assert_eq!(of("gaps"), told.len() as u64 / 2, "{capture}");
    told
}

fn once(reason: &str) -> Vec<(String, String)> {
    ["interrupted", "resumed"].map(|state| (state.to_owned(), reason.to_owned())).to_vec()
}

#[test]
fn a_link_goes_down_and_up() {
    if !can_run("a_link_goes_down_and_up") {
        return;
    }
    let net = Net::new(2);
    for (end, reason) in [("rx0", "link_down"), ("tx0", "no_carrier")] {
        for args in [&[][..], &["--mode", "tap"]] {
            let told = found_across(&net, args, |net| {
                net.ip(&["link", "set", end, "down"]);
                wait_until(net, false);
                net.ip(&["link", "set", end, "up"]);
            });
            assert_eq!(told, once(reason));
        }
    }
}

#[test]
fn an_interface_is_removed_and_made_anew() {
    if !can_run("an_interface_is_removed_and_made_anew") {
        return;
    }
    let net = Net::new(2);
    let others = [&[][..], &["--mode", "tap"], &["--xdp-mode", "generic"], &["--user", "nobody"]];
    for args in others {
        let told = found_across(&net, args, |net| {
            net.ip(&["link", "del", "rx0"]);
            wait_until(net, false);
            net.add_pair("rx0", "tx0", 2);
        });
        assert_eq!(told, once("removed"));
    }
}

#[test]
fn mtu_and_queues_change() {
    if !can_run("mtu_and_queues_change") {
        return;
    }
    let net = Net::new(4);
    let told = found_across(&net, &[], |net| {
        net.ip(&["link", "set", "rx0", "mtu", "2000"]);
        wait_until(net, false);
    });
    assert_eq!(told, once("mtu_changed"));
    let channels = |count: &str| {
        let ethtool = net.command("ethtool").args(["-L", "rx0", "rx", count]).output();
        ethtool.is_ok_and(|output| output.status.success())
    };
    assert!(channels("2"), "veth changes its queues while nobody captures");
    let told = found_across(&net, &[], |net| {
        assert!(channels("4"));
        wait_until(net, false);
    });
    assert_eq!(told, once("queues_changed"));
}

#[test]
fn somebody_takes_the_program_off() {
    if !can_run("somebody_takes_the_program_off") {
        return;
    }
    let net = Net::new(1);
    let told = found_across(&net, &[], |net| {
        detach_by_force(net.program().expect("it is attached"));
        wait_until(net, false);
    });
    assert_eq!(told, once("detached"));
}
