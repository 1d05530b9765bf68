//! Several interfaces that feed one set of tables: a tap that splits the directions over two ports
//! shows what a mirror of both would. Needs root; says so without.
#![cfg(feature = "xdp")]

mod common;

use std::process::Output;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::net::{Net, Sender, can_run, scratch};
use common::{alerts, collision, is_from, stderr, stdout};
use serde_json::Value;

const CLIENT: (u32, u16) = (0x0a00_0001, 40_000);
const SERVER: (u32, u16) = (0x0a00_0002, 80);

/// Frames of a collision before the tuple comes back.
const FIRST_CONNECTION: usize = 6;

/// Sends a collision, the client's segments out of `there`, the server's out of `back`.
fn send_split(net: &Net, client: (u32, u16), there: &str, back: &str, pause: Duration) {
    net.inside(|| {
        let (there, back) = (Sender::open(there), Sender::open(back));
        for (n, (_, frame)) in collision(client, SERVER, 0).iter().enumerate() {
            if n == FIRST_CONNECTION {
                thread::sleep(pause);
            }
            let sender = if is_from(SERVER, frame) { &back } else { &there };
            sender.send(frame);
            // SYNs that come closer together are copies of one.
            let is_again = n >= FIRST_CONNECTION;
            thread::sleep(Duration::from_millis(if is_again { 10 } else { 2 }));
        }
    });
}

fn events(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The last statistics event: what came in by each interface adds up to the whole, and is all
/// accounted for.
#[track_caller]
fn all_accounted_for(output: &Output, names: &[&str]) {
    let events = events(output);
    let stats = events.iter().rfind(|event| event["event_type"] == "stats").expect("statistics");
    let interfaces = stats["interfaces"].as_array().expect("interfaces");
    assert_eq!(interfaces.iter().map(|row| &row["iface"]).collect::<Vec<_>>(), names);
    let capture = &stats["stats"]["capture"];
    for row in interfaces.iter().chain([capture]) {
        let of = |name: &str| row[name].as_u64().expect(name);
        assert_eq!(of("seen"), of("selected") + of("dropped") + of("passed"), "{row}");
        let arrived = of("received") + of("rx_ring_full") + of("rx_dropped");
        assert_eq!(of("selected"), arrived + of("redirect_errors"), "{row}");
        assert!(of("received") > 0, "{stats:#}");
    }
    for name in ["seen", "selected", "received", "nic_lost"] {
        let sum: u64 = interfaces.iter().map(|row| row[name].as_u64().expect(name)).sum();
        assert_eq!(capture[name], sum, "{name}");
    }
}

/// Captures a split collision. The close is out of the program's filter when the tuple comes back, so
/// the answers are selected for the SYN that the other port saw.
fn split_collision(net: &Net, args: &[&str]) -> Output {
    let filter = ["--fin-window", "20ms", "--json"];
    let mut sensor = net.start(&[&["-i", "rx0", "-i", "rx1"][..], &filter, args].concat());
    send_split(net, CLIENT, "tx0", "tx1", Duration::from_millis(200));
    thread::sleep(Duration::from_millis(300));
    let output = sensor.end();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    output
}

#[test]
fn directions_on_two_ports_give_the_finding_of_both() {
    if !can_run("directions_on_two_ports_give_the_finding_of_both") {
        return;
    }
    let net = Net::with_two_pairs(2);
    for args in [&[][..], &["--xdp-mode", "generic", "--batch", "1"], &["--mode", "tap"]] {
        let output = split_collision(&net, args);
        let found: Vec<Value> =
            events(&output).into_iter().filter(|event| event["event_type"] == "alert").collect();
        assert_eq!(found.len(), 2, "{args:?}: {}{}", stdout(&output), stderr(&output));
        assert_eq!(found[0]["alert"]["state"], "firing");
        let reuse = &found[1]["tuple_reuse"];
        let told = ["cause", "answer", "verdict"].map(|key| reuse[key].as_str().unwrap());
        assert_eq!(told, ["paws", "challenge_ack", "refuse_paws"], "{reuse:#}");
        assert_eq!(reuse["answers"], 3, "{reuse:#}");
        assert_eq!(found[1]["in_iface"], "rx0+rx1");
        all_accounted_for(&output, &["rx0", "rx1"]);
    }
    assert!(!net.is_attached() && net.promiscuity() == 0);
}

/// An alert without its origin, and without the two times that live follow the clock's drift.
fn comparable(alert: &str) -> Value {
    let mut event: Value = serde_json::from_str(alert).expect("JSON");
    let fields = event.as_object_mut().expect("an object");
    for name in ["timestamp", "in_iface", "pcap_filename"] {
        fields.remove(name);
    }
    event["tuple_reuse"]["holder"].as_object_mut().expect("a holder").remove("deadline");
    event
}

#[test]
fn headers_of_two_interfaces_are_written_and_replay_to_the_same_finding() {
    if !can_run("headers_of_two_interfaces_are_written_and_replay_to_the_same_finding") {
        return;
    }
    let net = Net::with_two_pairs(1);
    let path = scratch("two.pcapng");
    let name = path.to_str().expect("a plain path");
    let live = split_collision(&net, &["-w", name]);
    let replayed = common::run(&["-r", name, "--json"]);
    let file = std::fs::read(&path).expect("the file");
    let _ = std::fs::remove_file(&path);
    for interface in [b"rx0", b"rx1"] {
        assert!(file.windows(3).take(200).any(|bytes| bytes == interface), "no block for it");
    }
    assert_eq!(comparable(&alerts(&live)[0]), comparable(&alerts(&replayed)[0]));
}

/// Many connections, until a window of the rule has been judged; the kinds of fault that were told.
fn faults(net: &Net, args: &[&str]) -> Vec<String> {
    let mut sensor = net.start(&[args, &["--json"]].concat());
    for port in 0..30 {
        send_split(net, (CLIENT.0, CLIENT.1 + port), "tx0", "tx1", Duration::ZERO);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    thread::sleep(Duration::from_millis(
        10_500 - now.subsec_millis() as u64 - now.as_secs() % 10 * 1000,
    ));
    let output = sensor.end();
    let faults = events(&output).into_iter().filter(|event| event["mirror_fault"].is_object());
    faults.map(|event| event["mirror_fault"]["kind"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_feed_split_by_direction_is_no_fault() {
    if !can_run("a_feed_split_by_direction_is_no_fault")
        || std::env::var_os("XDPWATCH_LONG").is_none()
    {
        return;
    }
    let net = Net::with_two_pairs(1);
    assert_eq!(faults(&net, &["-i", "rx0", "-i", "rx1"]), [""; 0]);
    let alone = faults(&net, &["-i", "rx0"]);
    assert!(alone.contains(&"one_direction".to_owned()), "{alone:?}");
}
