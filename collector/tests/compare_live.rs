//! `--compare` on two interfaces: real connections through a router that drops what its rules say, with a
//! mirror of each of its sides; what is told as lost is what the rules' counters say. Needs root; says so
//! without.
#![cfg(feature = "xdp")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;
use std::thread;
use std::time::{Duration, Instant};

use common::net::{Net, Sender, Sensor, can_run, inside, ip, scratch};
use common::{ACK, Segment, collision, is_from, run, stderr, stdout};
use serde_json::Value;

const SERVER_ADDR: &str = "10.98.2.2";
const PATIENCE: Duration = Duration::from_secs(8);

/// A client and a server with a router between them. What passes the router's side towards the client is
/// mirrored to `rx0`, that towards the server to `rx1`.
struct Path {
    router: Net,
    client: String,
    server: String,
}

impl Path {
    fn new() -> Self {
        let router = Net::with_two_pairs(1);
        let (client, server) = (format!("{}c", router.name), format!("{}s", router.name));
        for (host, own, side, network, mirror) in
            [(&client, "c0", "toc", "10.98.1", "tx0"), (&server, "s0", "tos", "10.98.2", "tx1")]
        {
            ip(&["netns", "add", host]);
            let pair = ["link", "add", side, "type", "veth", "peer", "name", own, "netns", host];
            router.ip(&pair);
            router.ip(&["addr", "add", &format!("{network}.1/24"), "dev", side]);
            router.ip(&["link", "set", side, "up"]);
            ip(&["-n", host, "addr", "add", &format!("{network}.2/24"), "dev", own]);
            ip(&["-n", host, "link", "set", own, "up"]);
            ip(&["-n", host, "route", "add", "default", "via", &format!("{network}.1")]);
            let tc = |args: &[&str]| ran(router.command("tc").args(args));
            tc(&["qdisc", "add", "dev", side, "clsact"]);
            for way in ["ingress", "egress"] {
                let to = ["action", "mirred", "egress", "mirror", "dev", mirror];
                let all = ["protocol", "all", "u32", "match", "u32", "0", "0"];
                tc(&[&["filter", "add", "dev", side, way][..], &all, &to].concat());
            }
        }
        ran(router.command("sysctl").args(["-qw", "net.ipv4.ip_forward=1"]));
        Self { router, client, server }
    }

    fn nft(&self, what: &str) -> String {
        ran(self.router.command("nft").arg(what))
    }

    /// Drops what these rules match from now on, each counted under its name.
    fn drop_on_the_way(&self, rules: &[(&str, &str)]) {
        self.nft("add table ip way");
        self.nft("add chain ip way forward { type filter hook forward priority 0; }");
        for (name, rule) in rules {
            self.nft(&format!("add counter ip way {name}"));
            self.nft(&format!("add rule ip way forward {rule} counter name {name} drop"));
        }
    }

    /// Drops nothing any more; what each rule has dropped.
    fn dropped(&self, rules: &[(&str, &str)]) -> Vec<u64> {
        self.nft("flush chain ip way forward");
        let count = |(name, _): &(&str, &str)| {
            let text = self.nft(&format!("list counter ip way {name}"));
            let count = text.split("packets ").nth(1).expect("a counter").split(' ').next();
            count.unwrap().parse().expect("a number")
        };
        rules.iter().map(count).collect()
    }

    /// Connections at once: one byte there, one back a while later, the server closes.
    fn talk(&self, port: u16, connections: usize) {
        let listen = || TcpListener::bind((SERVER_ADDR, port)).expect("a free port");
        let listener = inside(&self.server, listen);
        thread::scope(|scope| {
            for _ in 0..connections {
                scope.spawn(|| {
                    let (mut stream, _) = listener.accept().expect("a connection");
                    let mut byte = [0];
                    stream.read_exact(&mut byte).expect("a byte");
                    thread::sleep(Duration::from_millis(60));
                    stream.write_all(&byte).expect("it is taken");
                });
                let server = format!("{SERVER_ADDR}:{port}").parse().expect("an address");
                let connect = move || TcpStream::connect_timeout(&server, PATIENCE);
                scope.spawn(move || {
                    let mut stream = inside(&self.client, connect).expect("it is answered");
                    stream.write_all(b"x").expect("it is taken");
                    let mut heard = Vec::new();
                    stream.read_to_end(&mut heard).expect("a byte and the end");
                    assert_eq!(heard, b"x");
                });
            }
        });
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        for name in [&self.client, &self.server] {
            let _ = std::process::Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

#[track_caller]
fn ran(command: &mut std::process::Command) -> String {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", stderr(&output));
    stdout(&output)
}

/// The comparison events, which must be of the schema.
#[track_caller]
fn comparisons(output: &Output) -> Vec<Value> {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    let schema = serde_json::from_str(xdpwatch::report::json::SCHEMA).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let text = stdout(output);
    let events: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .filter(|event: &Value| event["event_type"] == "comparison")
        .collect();
    for event in &events {
        let errors: Vec<String> = validator.iter_errors(event).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}\n{event:#}");
    }
    assert!(!events.is_empty(), "{text}{}", stderr(output));
    events.into_iter().map(|mut event| event["comparison"].take()).collect()
}

fn sum(said: &[Value], key: &str) -> u64 {
    said.iter().map(|one| one[key].as_u64().expect(key)).sum()
}

fn sums(said: &[Value], key: &str) -> [u64; 2] {
    [0, 1].map(|point| said.iter().map(|one| one[key][point].as_u64().expect(key)).sum())
}

/// How many segments of each kind were lost, by who saw them.
fn lost(said: &[Value]) -> Vec<(String, String, u64)> {
    let mut counts = std::collections::BTreeMap::new();
    for group in said.iter().flat_map(|one| one["lost"].as_array().expect("an array")) {
        let word = |key: &str| group[key].as_str().expect("a word").to_owned();
        let key = (
            format!(
                "{} {}",
                word("kind"),
                group["src_port"].as_u64().unwrap().min(group["dest_port"].as_u64().unwrap())
            ),
            word("seen_in"),
        );
        *counts.entry(key).or_insert(0) += group["count"].as_u64().expect("a count");
    }
    counts.into_iter().map(|((kind, seen_in), count)| (kind, seen_in, count)).collect()
}

/// Watches both mirrors while the connections of three services pass.
fn watched(path: &Path, more: &[&str], rules: &[(&str, &str)]) -> (Output, Vec<u64>) {
    let mut sensor = start(&path.router, &[&["--json"][..], more].concat());
    path.drop_on_the_way(rules);
    thread::scope(|scope| {
        for port in [8001, 8002, 8003] {
            scope.spawn(move || path.talk(port, 5));
        }
    });
    thread::sleep(Duration::from_millis(300));
    let dropped = path.dropped(rules);
    thread::sleep(Duration::from_millis(400));
    (sensor.end(), dropped)
}

const SERVER_ACKS: (&str, &str) = (
    "server_acks",
    "iifname tos tcp sport 8001 tcp flags & (syn|ack|fin|rst|psh) == ack ip length < 60",
);
const SYNS: (&str, &str) =
    ("syns", "tcp dport 8002 tcp flags & (syn|ack) == syn numgen inc mod 100 < 3");
const SYN_ACKS: (&str, &str) =
    ("syn_acks", "tcp sport 8003 tcp flags & (syn|ack) == (syn|ack) numgen inc mod 100 < 2");

#[test]
fn what_a_hop_drops_is_lost_there_and_nothing_else() {
    if !can_run("what_a_hop_drops_is_lost_there_and_nothing_else") {
        return;
    }
    let path = Path::new();
    let rules = [SERVER_ACKS, SYNS, SYN_ACKS];
    for more in [&["--stats-interval", "300ms"][..], &["--xdp-mode", "generic"]] {
        let (output, dropped) = watched(&path, more, &rules);
        let said = comparisons(&output);
        let [acks, syns, syn_acks] = dropped[..] else { panic!("{dropped:?}") };
        assert!(acks >= 5 && syns == 3 && syn_acks == 2, "{dropped:?}");
        let expected = [
            ("ACK 8001", "rx1", acks),
            ("SYN 8002", "rx0", syns),
            ("SYN/ACK 8003", "rx1", syn_acks),
        ];
        let expected =
            expected.map(|(kind, seen, count)| (kind.to_owned(), seen.to_owned(), count));
        assert_eq!(lost(&said), expected, "{said:#?}");
        assert!(sum(&said, "matched") > 100, "{said:#?}");
        for key in ["not_captured", "capture_lost", "in_doubt"] {
            assert_eq!(sums(&said, key), [0, 0], "{key}: {said:#?}");
        }
        assert_eq!(sum(&said, "not_compared") + sum(&said, "not_kept"), 0, "{said:#?}");
        assert_eq!(said[0]["interfaces"], serde_json::json!(["rx0", "rx1"]));
        assert!(said.iter().all(|one| one["offset_us"] == 0), "one clock");
        let later = said.iter().filter_map(|one| one["later_us"][0].as_i64());
        assert!(
            later.clone().count() > 0 && later.clone().all(|us| (0..5000).contains(&us)),
            "{said:#?}"
        );
        path.nft("delete table ip way");
    }
}

#[test]
fn a_path_that_drops_nothing_loses_nothing() {
    if !can_run("a_path_that_drops_nothing_loses_nothing") {
        return;
    }
    let path = Path::new();
    for more in [&["--stats-interval", "200ms"][..], &["--mode", "tap"]] {
        let (output, _) = watched(&path, more, &[]);
        let said = comparisons(&output);
        assert_eq!(lost(&said), [], "{said:#?}");
        assert!(sum(&said, "matched") > 100, "{said:#?}");
        assert_eq!(sums(&said, "not_captured"), [0, 0], "{said:#?}");
        assert_eq!(stderr(&output).matches("nothing in common").count(), 0);
    }
}

/// The same frames to both, the client's first to `tx0`, except what the `hop` keeps.
fn send(
    net: &Net,
    frames: &[Vec<u8>],
    pause: Duration,
    server: (u32, u16),
    keeps: impl Fn(usize) -> bool + Sync,
) {
    net.inside(|| {
        let (near, far) = (Sender::open("tx0"), Sender::open("tx1"));
        for (n, frame) in frames.iter().enumerate() {
            let [first, second] =
                if is_from(server, frame) { [&far, &near] } else { [&near, &far] };
            first.send(frame);
            if !keeps(n) {
                second.send(frame);
            }
            thread::sleep(pause);
        }
    });
}

#[test]
fn findings_are_told_with_what_died_meanwhile() {
    if !can_run("findings_are_told_with_what_died_meanwhile") {
        return;
    }
    let net = Net::with_two_pairs(1);
    let (client, server) = ((0x0a00_0001, 40_000), (0x0a00_0002, 80));
    let frames: Vec<_> = collision(client, server, 0).into_iter().map(|(_, frame)| frame).collect();
    // The answers to the SYNs on the old tuple.
    let dies = |n: usize| n >= 6 && is_from(server, &frames[n]);
    let run = |more: &[&str]| {
        let mut sensor = start(&net, more);
        send(&net, &frames, Duration::from_millis(20), server, dies);
        thread::sleep(Duration::from_millis(400));
        sensor.end()
    };
    let said = comparisons(&run(&["--json"]));
    assert_eq!(lost(&said), [("ACK 80".to_owned(), "rx1".to_owned(), 3)], "{said:#?}");
    let findings: Vec<_> =
        said.iter().flat_map(|one| one["findings"].as_array().unwrap()).collect();
    for iface in ["rx0", "rx1"] {
        let of: Vec<_> = findings.iter().filter(|one| one["in_iface"] == iface).collect();
        let told = of.last().unwrap_or_else(|| panic!("{iface}: {findings:#?}"));
        let summary = told["summary"].as_str().expect("text");
        assert!(summary.starts_with("tuple_reuse 10.0.0.1:40000 -> 10.0.0.2:80"), "{summary}");
        assert!(summary.contains("10.0.0.2's 3 ACK passed rx1 and never reached rx0"), "{summary}");
    }
    let text = stdout(&run(&[]));
    let block = &text[text.find("comparison of rx0 and rx1").expect("it is told")..];
    assert!(block.contains("10.0.0.2:80's 3 ACK to 10.0.0.1:40000 passed rx1"), "{block}");
    assert!(block.contains("(one clock)") && !block.contains("behind"), "{block}");
    let key = scratch("compare.key");
    let redact = ["--redact", "--redact-key", key.to_str().expect("a plain path"), "--json"];
    let said = comparisons(&run(&redact));
    let _ = std::fs::remove_file(&key);
    let text = format!("{said:?}");
    assert!(text.contains("'s 3 ACK passed rx1") && !text.contains("10.0.0."), "{text}");
}

/// Starts comparing both mirrors; returns once what comes in counts.
fn start(net: &Net, more: &[&str]) -> Sensor {
    let sensor = net.start(&[&["-i", "rx0", "-i", "rx1", "--compare"][..], more].concat());
    let until = Instant::now() + Duration::from_secs(20);
    while !net.ip(&["-d", "link", "show", "rx1"]).contains("prog/xdp") {
        assert!(Instant::now() < until, "the second interface is not watched");
        thread::sleep(Duration::from_millis(5));
    }
    thread::sleep(Duration::from_millis(700));
    sensor
}

/// Segments that are all different.
fn many(count: u32) -> Vec<Vec<u8>> {
    let one = |n: u32| {
        let (src, dst) = ((0x0a00_0001, 40_000), (0x0a00_0002, 80));
        Segment { src, dst, seq: n * 10, ack: 1, flags: ACK, ts_val: 1, ts_ecr: 1 }.frame()
    };
    (0..count).map(one).collect()
}

#[test]
fn what_the_sensor_itself_misses_is_not_called_lost() {
    if !can_run("what_the_sensor_itself_misses_is_not_called_lost") {
        return;
    }
    let net = Net::with_two_pairs(1);
    let server = (0x0a00_0002, 80);
    let frames = many(30_000);
    // No room for so many segments.
    let mut sensor = start(&net, &["--json", "--compare-segments", "3000"]);
    send(&net, &frames, Duration::ZERO, server, |_| false);
    thread::sleep(Duration::from_millis(400));
    let said = comparisons(&sensor.end());
    assert!(sum(&said, "not_compared") > 1000, "{said:#?}");
    assert_eq!(lost(&said), [], "{said:#?}");
    // No room in the receive rings while the sensor stands still.
    let mut sensor = start(&net, &["--json", "--ring-size", "64", "--stats-interval", "300ms"]);
    send(&net, &frames[..50], Duration::from_millis(1), server, |_| false);
    sensor.signal(libc::SIGSTOP);
    // Others fill the far ring first.
    net.inside(|| {
        let far = Sender::open("tx1");
        collision((7, 7), (8, 8), 0)
            .iter()
            .cycle()
            .take(100)
            .for_each(|(_, frame)| far.send(frame));
    });
    send(&net, &frames[50..80], Duration::ZERO, server, |_| false);
    thread::sleep(Duration::from_secs(3));
    sensor.signal(libc::SIGCONT);
    thread::sleep(Duration::from_millis(1500));
    let said = comparisons(&sensor.end());
    let [near, far] = sums(&said, "capture_lost");
    assert!(near == 0 && far >= 30, "{said:#?}");
    assert_eq!(sums(&said, "in_doubt"), [0, 30], "{said:#?}");
    assert_eq!(lost(&said), [], "{said:#?}");
}

#[test]
fn strangers_and_silence_are_no_failure() {
    if !can_run("strangers_and_silence_are_no_failure") {
        return;
    }
    let net = Net::with_two_pairs(1);
    let args = ["--json", "--stats-interval", "200ms"];
    let mut sensor = start(&net, &args);
    let output = sensor.end();
    let said = comparisons(&output);
    assert!(said.len() >= 3 && sum(&said, "matched") == 0, "{said:#?}");
    assert!(!stderr(&output).contains("in common"), "{}", stderr(&output));
    assert!(stderr(&output).contains("--select all"), "it is said: {}", stderr(&output));
    let mut sensor = start(&net, &args);
    net.inside(|| {
        let (near, far) = (Sender::open("tx0"), Sender::open("tx1"));
        for (mine, theirs) in many(200).chunks_exact(2).map(|pair| (&pair[0], &pair[1])) {
            near.send(mine);
            far.send(theirs);
            thread::sleep(Duration::from_millis(5));
        }
    });
    thread::sleep(Duration::from_millis(400));
    let output = sensor.end();
    let said = comparisons(&output);
    assert_eq!(lost(&said), [], "{said:#?}");
    assert!(sum(&said, "elsewhere") >= 150, "{said:#?}");
    assert_eq!(stderr(&output).matches("nothing in common").count(), 1, "{}", stderr(&output));
}

#[test]
fn what_can_not_be_compared_is_refused_with_its_cure() {
    for (args, reason) in [
        (&["-i", "a"][..], "exactly two interfaces, -i FIRST -i SECOND"),
        (&["-i", "a", "-i", "b", "-i", "c"], "exactly two interfaces"),
        (&["-i", "a", "-i", "a"], "give another for one of them"),
        (&["-i", "a", "-i", "b", "--select", "control"], "--select all"),
        (&["-i", "a", "-i", "b", "-w", "x.pcapng"], "two xdpwatch and compare the files"),
        (&["-i", "a", "-i", "b", "--state-file", "/tmp/x"], "leave it out"),
        (&["-i", "a", "-r", "b.pcap"], "leave it out with -r"),
    ] {
        let output = run(&[&["--compare"], args].concat());
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(reason), "{args:?}: {}", stderr(&output));
    }
}
