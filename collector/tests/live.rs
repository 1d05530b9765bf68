//! Live capture in network namespaces that the tests make: what is refused, what is found, that every
//! frame is accounted for, and that no death leaves anything behind. Needs root; says so without.
#![cfg(feature = "xdp")]

mod common;

use std::io::Write;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::net::{Hosts, Net, RX_ADDR, Sender, can_run, scratch};
use common::{alerts, collision, stderr, stdout};

const CLIENT: (u32, u16) = (0x0a00_0001, 40_000);
const SERVER: (u32, u16) = (0x0a00_0002, 80);

/// A counter of the last statistics event.
#[track_caller]
fn counter(output: &Output, group: &str, name: &str) -> u64 {
    let text = stdout(output);
    let last = text.lines().rfind(|line| line.contains("\"event_type\":\"stats\""));
    let last = last.unwrap_or_else(|| panic!("no statistics: {text}{}", stderr(output)));
    let event: serde_json::Value = serde_json::from_str(last).unwrap();
    event["stats"][group][name].as_u64().unwrap_or(0)
}

/// Both sums hold, and nothing was lost in user space.
#[track_caller]
fn all_accounted_for(output: &Output) {
    let of = |name| counter(output, "capture", name);
    assert_eq!(of("seen"), of("selected") + of("dropped") + of("passed"), "{}", stdout(output));
    let arrived = of("received") + of("rx_ring_full") + of("rx_dropped");
    assert_eq!(of("selected"), arrived, "{}", stdout(output));
    for lost in ["redirect_errors", "bad_heads", "handoff_lost", "aggregator_lost", "reporter_lost"]
    {
        assert_eq!(of(lost), 0, "{lost}: {}", stdout(output));
    }
}

fn frames_of(client: (u32, u16)) -> Vec<Vec<u8>> {
    collision(client, SERVER, 0).into_iter().map(|(_, frame)| frame).collect()
}

/// The same segment in VXLAN (RFC 7348), addressed to `to`.
fn in_vxlan(frame: &[u8], to: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![0xff; 6];
    bytes.extend([2, 0, 0, 0, 0, 9, 8, 0]);
    let ip_len = (20 + 8 + 8 + frame.len()) as u16;
    bytes.extend([0x45, 0]);
    bytes.extend(ip_len.to_be_bytes());
    bytes.extend([0, 1, 0, 0, 64, 17, 0, 0, 10, 99, 0, 77]);
    bytes.extend(to);
    bytes.extend(50_000u16.to_be_bytes());
    bytes.extend(4789u16.to_be_bytes());
    bytes.extend((ip_len - 20).to_be_bytes());
    bytes.extend([0, 0, 8, 0, 0, 0, 0, 0, 42, 0]);
    bytes.extend(frame);
    bytes
}

#[test]
fn an_interface_that_the_host_uses_is_refused_before_anything_changes() {
    if !can_run("an_interface_that_the_host_uses_is_refused_before_anything_changes") {
        return;
    }
    let net = Net::new(1);
    net.ip(&["addr", "add", "192.0.2.1/24", "dev", "rx0"]);
    let output = net.run(&["-i", "rx0"]);
    assert_eq!(output.status.code(), Some(1));
    for word in ["192.0.2.1", "--consume", "--encap", "--mode tap"] {
        assert!(stderr(&output).contains(word), "{word}: {}", stderr(&output));
    }
    assert!(!net.is_attached() && net.promiscuity() == 0);
    net.ip(&["route", "add", "default", "via", "192.0.2.2"]);
    let output = net.run(&["-i", "rx0"]);
    assert!(stderr(&output).contains("default route"), "{}", stderr(&output));
    net.ip(&["addr", "flush", "dev", "rx0"]);
    net.ip(&["link", "add", "br0", "type", "bridge"]);
    net.ip(&["link", "set", "rx0", "master", "br0"]);
    let output = net.run(&["-i", "rx0"]);
    assert!(stderr(&output).contains("br0"), "{}", stderr(&output));
    net.ip(&["link", "set", "rx0", "nomaster"]);
    net.ip(&["link", "set", "rx0", "down"]);
    let output = net.run(&["-i", "rx0"]);
    assert!(stderr(&output).contains("ip link set rx0 up"), "{}", stderr(&output));
    for (args, reason) in [
        (&["-i", "rx0", "-i", "rx0"][..], "given twice"),
        (&["-i", "rx0", "-i", "tx0", "--owner", "rss"], "leave it out"),
    ] {
        let output = net.run(args);
        assert!(stderr(&output).contains(reason), "{reason}: {}", stderr(&output));
    }
    let output = net.run(&["-i", "rx1"]);
    assert!(stderr(&output).contains("there are: br0, lo, rx0, tx0"), "{}", stderr(&output));
}

/// Captures a collision and checks that it is told while it happens.
#[track_caller]
fn sees_the_collision(net: &Net, args: &[&str]) -> Output {
    let mut sensor = net.start(&[&["-i", "rx0", "--json"], args].concat());
    let frames = frames_of(CLIENT);
    net.inside(|| {
        let sender = Sender::open("tx0");
        for frame in &frames {
            sender.send(frame);
            thread::sleep(Duration::from_millis(2));
        }
    });
    thread::sleep(Duration::from_millis(300));
    let output = sensor.end();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let found = alerts(&output);
    assert_eq!(found.len(), 2, "{}{}", stdout(&output), stderr(&output));
    assert!(found[0].contains("\"state\":\"firing\""), "{}", found[0]);
    assert!(found[0].contains("\"category\":\"paws\""), "{}", found[0]);
    assert!(found[0].contains("\"in_iface\":\"rx0\""), "{}", found[0]);
    assert!(found[1].contains("\"state\":\"resolved\""), "{}", found[1]);
    assert!(!net.is_attached() && net.promiscuity() == 0);
    output
}

#[test]
fn a_collision_is_found_live_in_every_mode() {
    if !can_run("a_collision_is_found_live_in_every_mode") {
        return;
    }
    let net = Net::new(2);
    all_accounted_for(&sees_the_collision(&net, &[]));
    all_accounted_for(&sees_the_collision(&net, &["--owner", "rss", "--batch", "1"]));
    all_accounted_for(&sees_the_collision(&net, &["--xdp-mode", "generic", "--cpus", "0,1"]));
    sees_the_collision(&net, &["--mode", "tap"]);
    for end in ["rx0", "tx0"] {
        net.ip(&["link", "set", end, "mtu", "9000"]);
    }
    all_accounted_for(&sees_the_collision(&net, &["--xdp-mode", "driver"]));
}

#[test]
fn headers_are_written_and_replay_to_the_same_finding() {
    if !can_run("headers_are_written_and_replay_to_the_same_finding") {
        return;
    }
    let net = Net::new(1);
    let path = scratch("headers.pcapng");
    let name = path.to_str().unwrap();
    let live = sees_the_collision(&net, &["-w", name]);
    let replayed = common::run(&["-r", name, "--json"]);
    let _ = std::fs::remove_file(&path);
    // The end of input is another time; what fired is the same to the byte but for its origin.
    let origin = format!("\"pcap_filename\":\"{name}\"");
    let fired = alerts(&live)[0].replace("\"in_iface\":\"rx0\"", &origin);
    assert_eq!(fired, alerts(&replayed)[0]);
}

/// Frames of every kind from two senders; returns how many were sent.
fn flood(net: &Net, per_sender: u32) -> u64 {
    let flood = |sender: u32| {
        let mut sent = 0;
        let socket = Sender::open("tx0");
        for n in 0..per_sender {
            let mut frame = frames_of((0x0b00_0000 + sender, n as u16))[(n % 6) as usize].clone();
            match n % 5 {
                // UDP, and something that is not IP.
                0 => frame[23] = 17,
                1 => frame[12] = 9,
                _ => {}
            }
            socket.send(&frame);
            sent += 1;
        }
        sent
    };
    thread::scope(|scope| {
        let senders: Vec<_> =
            (0..2).map(|sender| scope.spawn(move || net.inside(|| flood(sender)))).collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).sum()
    })
}

#[test]
fn every_frame_is_accounted_for() {
    if !can_run("every_frame_is_accounted_for") {
        return;
    }
    let net = Net::new(2);
    // A small ring and a large one: with and without loss, the sums hold.
    for ring in ["64", "16384"] {
        let mut sensor = net.start(&["-i", "rx0", "--json", "--ring-size", ring]);
        let sent = flood(&net, 20_000);
        thread::sleep(Duration::from_millis(200));
        let output = sensor.end();
        all_accounted_for(&output);
        let seen = counter(&output, "capture", "seen");
        // The kernel's own frames (IPv6 neighbour discovery) may be among them.
        assert!((sent..sent + 50).contains(&seen), "{seen} of {sent}");
        assert!(counter(&output, "capture", "received") > 0);
    }
}

/// Millions of frames a second into two queues, more than this machine can take in.
/// Frames sent to this end of a veth pair that the other end had no room for (`ethtool -S`).
fn not_taken(interface: &str) -> u64 {
    let output = std::process::Command::new("ethtool").args(["-S", interface]).output();
    let text = output.map(|output| stdout(&output)).unwrap_or_default();
    text.lines()
        .filter(|line| line.contains("xdp_xmit_errors"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

#[test]
fn live_frames_are_accounted_for() {
    if !can_run("live_frames_are_accounted_for") {
        return;
    }
    let net = Net::new(2);
    let mut sensor = net.start(&["-i", "rx0", "--json", "--max-tuples", "100000"]);
    let plan = xdpwatch_tools::livegen::Plan {
        iface: "tx0".to_owned(),
        cpus: vec![0, 1],
        frames: 2_000_000,
        syn_per_mille: 200,
        tuples: 50_000,
        payload: 6,
        interval_ns: 0,
    };
    let sent = net.inside(|| xdpwatch_tools::livegen::generate(&plan).unwrap());
    let sent: u64 = sent.frames.iter().sum();
    thread::sleep(Duration::from_millis(500));
    let output = sensor.end();
    let of = |name| counter(&output, "capture", name);
    let _ = writeln!(
        std::io::stderr(),
        "sent {sent}: seen {}, selected {}, received {}, ring full {}, handed over too fast {}",
        of("seen"),
        of("selected"),
        of("received"),
        of("rx_ring_full"),
        of("handoff_lost")
    );
    // A busy machine makes the cable drop frames before the program; it counts them.
    let came = of("seen") + net.inside(|| not_taken("tx0"));
    assert!((sent..sent + 50).contains(&came), "{came} of {sent}");
    assert_eq!(of("seen"), of("selected") + of("dropped") + of("passed"));
    assert_eq!(of("selected"), of("received") + of("rx_ring_full") + of("rx_dropped"));
    // What was received was observed, but for what is counted as lost on the way.
    let observed = counter(&output, "detector", "records");
    assert_eq!(of("received"), observed + of("handoff_lost"), "{}", stdout(&output));
}

#[test]
fn a_full_disk_under_the_headers_is_a_failure_and_loses_no_summary() {
    if !can_run("a_full_disk_under_the_headers_is_a_failure_and_loses_no_summary") {
        return;
    }
    let net = Net::new(1);
    let output = net.run(&["-i", "rx0", "--json", "--duration", "300ms", "-w", "/dev/full"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("No space left"), "{}", stderr(&output));
    assert!(stdout(&output).contains("\"occasion\":\"end\""), "{}", stdout(&output));
}

#[test]
fn a_count_ends_the_capture() {
    if !can_run("a_count_ends_the_capture") {
        return;
    }
    let net = Net::new(2);
    let mut sensor = net.start(&["-i", "rx0", "--json", "--count", "5"]);
    net.send(&frames_of(CLIENT));
    let output = sensor.wait();
    assert_eq!(counter(&output, "detector", "records"), 5, "{}", stdout(&output));
}

#[test]
fn statistics_are_told_when_asked_for() {
    if !can_run("statistics_are_told_when_asked_for") {
        return;
    }
    let net = Net::new(1);
    let mut sensor = net.start(&["-i", "rx0", "--json"]);
    sensor.signal(libc::SIGUSR1);
    thread::sleep(Duration::from_millis(300));
    let output = sensor.end();
    assert!(stdout(&output).contains("\"occasion\":\"asked\""), "{}", stdout(&output));
}

#[test]
fn a_killed_sensor_leaves_nothing_behind() {
    if !can_run("a_killed_sensor_leaves_nothing_behind") {
        return;
    }
    let net = Net::new(2);
    let over = AtomicBool::new(false);
    let frames = frames_of(CLIENT);
    thread::scope(|scope| {
        scope.spawn(|| {
            net.inside(|| {
                let sender = Sender::open("tx0");
                while !over.load(Ordering::Relaxed) {
                    frames.iter().for_each(|frame| sender.send(frame));
                }
            });
        });
        let killed = std::panic::catch_unwind(|| {
            for round in 0..20 {
                // Starting waits for the program to be attached: it must succeed at once.
                let mut sensor = net.start(&["-i", "rx0"]);
                assert_eq!(net.promiscuity(), 1);
                sensor.signal(libc::SIGKILL);
                sensor.wait();
                let deadline = Instant::now() + Duration::from_secs(2);
                while net.is_attached() || net.promiscuity() != 0 {
                    assert!(Instant::now() < deadline, "round {round}: something is left");
                    thread::sleep(Duration::from_millis(5));
                }
            }
        });
        over.store(true, Ordering::Relaxed);
        killed.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

#[test]
fn a_second_sensor_is_told_who_is_in_its_way() {
    if !can_run("a_second_sensor_is_told_who_is_in_its_way") {
        return;
    }
    let net = Net::new(1);
    let mut first = net.start(&["-i", "rx0"]);
    let second = net.run(&["-i", "rx0"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(stderr(&second).contains("another"), "{}", stderr(&second));
    assert!(net.is_attached(), "the first one goes on");
    assert_eq!(first.end().status.code(), Some(0));
}

#[test]
fn an_interface_that_disappears_is_said_and_waited_for() {
    if !can_run("an_interface_that_disappears_is_said_and_waited_for") {
        return;
    }
    let net = Net::new(2);
    let mut sensor = net.start(&["-i", "rx0"]);
    net.ip(&["link", "del", "rx0"]);
    thread::sleep(Duration::from_millis(600));
    let output = sensor.end();
    let (told, said) = (stdout(&output), stderr(&output));
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("watching rx0: XDP in the driver, 2 receive queues"), "{said}");
    assert!(told.contains("INTERRUPTED  capture  [rx0]"), "{told}");
    assert!(told.contains("summary of rx0"), "the summary comes all the same: {told}");
}

#[test]
fn a_tap_lets_every_frame_pass_and_sees_the_headers() {
    if !can_run("a_tap_lets_every_frame_pass_and_sees_the_headers") {
        return;
    }
    let hosts = Hosts::new();
    let mut sensor = hosts.net.start(&["-i", "rx0", "--json", "--mode", "tap"]);
    for _ in 0..5 {
        hosts.talk().expect("TCP works through the tap");
    }
    thread::sleep(Duration::from_millis(300));
    let output = sensor.end();
    assert!(counter(&output, "detector", "connections") >= 5, "{}", stdout(&output));
    assert_eq!(counter(&output, "capture", "dropped"), 0);
    all_accounted_for(&output);
    // XDP sees what arrives, not what is sent: SYN, ACK, data and FIN of each connection.
    assert!(counter(&output, "capture", "received") >= 5 * 4, "{}", stdout(&output));
}

#[test]
fn an_encapsulated_mirror_leaves_the_hosts_own_traffic_alone() {
    if !can_run("an_encapsulated_mirror_leaves_the_hosts_own_traffic_alone") {
        return;
    }
    let hosts = Hosts::new();
    let args = ["-i", "rx0", "--json", "--encap", "vxlan"];
    let mut sensor = hosts.net.start(&args);
    hosts.talk().expect("the host's own TCP works");
    let to = RX_ADDR.parse::<std::net::Ipv4Addr>().unwrap().octets();
    let wrapped: Vec<_> = frames_of(CLIENT).iter().map(|frame| in_vxlan(frame, to)).collect();
    let elsewhere = in_vxlan(&frames_of(CLIENT)[0], [10, 99, 0, 55]);
    hosts.in_peer(|| {
        let sender = Sender::open("tx0");
        for frame in wrapped.iter().chain([&elsewhere]) {
            sender.send(frame);
            thread::sleep(Duration::from_millis(2));
        }
    });
    hosts.talk().expect("it still works");
    thread::sleep(Duration::from_millis(300));
    let output = sensor.end();
    let found = alerts(&output);
    assert_eq!(found.len(), 2, "{}{}", stdout(&output), stderr(&output));
    assert!(found[0].contains("\"category\":\"paws\""), "{}", found[0]);
    // Only what was wrapped and addressed here was taken: the rest passed.
    assert_eq!(counter(&output, "capture", "selected"), wrapped.len() as u64);
    all_accounted_for(&output);
}
