//! The sensor as a child process on the lab's mirror port, and a recording of all that this port got.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use xdpwatch_tools::judge::sys::is_root;
use xdpwatch_tools::lab::network::{MIDDLE, MIRROR, Network, SENSOR, SPAN};

/// An event, and when its line came out of the sensor.
pub struct Event {
    pub json: Value,
    pub at_ns: u64,
}

/// A sensor running on the lab's mirror port.
pub struct Sensor {
    child: Child,
    events: Receiver<Event>,
}

impl Sensor {
    /// Starts it with these flags besides, and waits until its program is attached.
    pub fn start(network: &Network, flags: &[&str]) -> Self {
        let mut child = network
            .command(SENSOR, env!("CARGO_BIN_EXE_xdpwatch"))
            .args(["--iface", MIRROR, "--json", "--sensor", "lab"])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the sensor starts");
        let stdout = child.stdout.take().expect("standard output is a pipe");
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let json = serde_json::from_str(&line).expect("a line is JSON");
                if sender.send(Event { json, at_ns: now_ns() }).is_err() {
                    return;
                }
            }
        });
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_attached(&network.namespace(SENSOR)) {
            let ended = child.try_wait().expect("the sensor's state");
            assert!(ended.is_none(), "the sensor did not start: {ended:?}");
            assert!(Instant::now() < deadline, "the sensor did not attach");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, events }
    }

    /// Ends it; the alerts among what it said, and its last statistics. It must have lost nothing.
    pub fn stop(mut self) -> (Vec<Event>, Value) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(sent.success(), "the sensor had ended before");
        let status = self.child.wait().expect("the sensor ends");
        assert!(status.success(), "{status}");
        let mut events: Vec<Event> = self.events.iter().collect();
        let stats = events.pop().expect("statistics at the end").json;
        let lost =
            ["rx_ring_full", "rx_dropped", "handoff_lost", "aggregator_lost", "reporter_lost"];
        for place in lost {
            assert_eq!(stats["stats"]["capture"][place], 0, "lost: {stats}");
        }
        events.retain(|event| event.json["event_type"] == "alert");
        (events, stats)
    }
}

/// tcpdump before the mirror port: the sensor takes its frames from everybody behind it.
pub struct Recording(Child);

impl Recording {
    /// Records headers into `file` from now on.
    pub fn start(network: &Network, file: &Path) -> Self {
        let mut child = network
            .command(MIDDLE, "tcpdump")
            .args(["-i", SPAN, "-s", "192", "-B", "65536", "-U", "-Z", "root"])
            .args(["--time-stamp-precision=nano", "-w"])
            .arg(file)
            .arg("tcp")
            .stderr(Stdio::piped())
            .spawn()
            .expect("tcpdump starts");
        let mut said = BufReader::new(child.stderr.take().expect("standard error is a pipe"));
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert!(said.read_line(&mut line).expect("text") > 0, "tcpdump ended");
        }
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Self(child)
    }

    /// Ends it, with everything written.
    pub fn stop(mut self) {
        let pid = self.0.id().to_string();
        let sent = Command::new("kill").args(["-INT", &pid]).status().expect("kill runs");
        assert!(sent.success() && self.0.wait().expect("tcpdump ends").success());
    }
}

/// Whether the lab can be had; says so when not.
pub fn can_run(test: &str) -> bool {
    if !is_root() {
        println!("SKIPPED: {test}: needs root (network namespaces, XDP)");
    }
    is_root()
}

fn is_attached(namespace: &str) -> bool {
    let link = Command::new("ip")
        .args(["-n", namespace, "link", "show", MIRROR])
        .output()
        .expect("ip runs");
    String::from_utf8_lossy(&link.stdout).contains("xdp")
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock past 1970");
    u64::try_from(since.as_nanos()).expect("a clock before 2554")
}
