//! SIGHUP, live in a network namespace under traffic: what can change does, nothing is lost, and a
//! mistake changes nothing. Needs root; says so without.
#![cfg(all(feature = "xdp", feature = "webhook"))]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStderr, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use common::collision;
use common::hook::{GOOD, Server};
use common::net::{Net, can_run, send_signal};
use serde_json::Value;

const SERVER: (u32, u16) = (0x0a00_0002, 80);

/// A sensor with a configuration of its own.
struct Sensor {
    child: Child,
    events: Receiver<Value>,
    said: Receiver<String>,
}

impl Sensor {
    fn start(net: &Net, config: &Path) -> Self {
        let mut command = net.xdpwatch(&["--config", config.to_str().unwrap(), "--json"]);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let (tell, said) = channel();
        let errors: ChildStderr = child.stderr.take().unwrap();
        thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        let (tell, events) = channel();
        let out = child.stdout.take().unwrap();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let _ = tell.send(serde_json::from_str(&line).expect("JSON"));
            }
        });
        let sensor = Self { child, events, said };
        sensor.says("watching rx0");
        sensor
    }

    /// Waits for a line with this in it.
    #[track_caller]
    fn says(&self, what: &str) -> String {
        loop {
            let line = self.said.recv_timeout(Duration::from_secs(20));
            let line = line.unwrap_or_else(|_| panic!("it does not say {what}"));
            if line.contains(what) {
                return line;
            }
        }
    }

    fn reload(&self) {
        send_signal(self.child.id(), libc::SIGHUP);
    }

    /// The next event of this kind.
    #[track_caller]
    fn event(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.events.recv_timeout(Duration::from_secs(20));
            let event = event.unwrap_or_else(|_| panic!("no event: {what}"));
            if is(&event) {
                return event;
            }
        }
    }

    /// The statistics at the end.
    fn end(mut self) -> Value {
        send_signal(self.child.id(), libc::SIGTERM);
        let stats = self.event("the last statistics", |event| {
            event["event_type"] == "stats" && event["stats"]["occasion"] == "end"
        });
        self.child.wait().unwrap();
        stats
    }
}

impl Drop for Sensor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_firing(event: &Value) -> bool {
    event["event_type"] == "alert" && event["alert"]["state"] == "firing"
}

#[test]
fn a_reload_under_traffic_loses_nothing() {
    if !can_run("a_reload_under_traffic_loses_nothing") {
        return;
    }
    let net = Net::new(2);
    let hook = net.inside(|| TcpListener::bind("127.0.0.1:0").unwrap());
    let server = Server::on(hook, |_| GOOD);
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("xdpwatch.toml");
    let base = "[input]\niface = [\"rx0\"]\n[api]\nlisten = \"off\"\n";
    fs::write(&config, base).unwrap();
    let sensor = Sensor::start(&net, &config);
    let frames: Vec<_> =
        collision((0x0a00_0001, 40_000), SERVER, 0).into_iter().map(|(_, frame)| frame).collect();
    let (close, colliding) = frames.split_at(frames.len() - 6);
    net.send(close);

    // With a mistake, everything stays as it is.
    fs::write(&config, format!("{base}[detection]\nhost_model = [\"10.0.0.2=solaris\"]\n"))
        .unwrap();
    sensor.reload();
    assert!(sensor.says("solaris").contains(":6: detection.host_model"));
    sensor.says("everything stays as it was");

    // Under traffic: the connection that closed before is still known after it.
    let busy: Vec<Vec<u8>> = (0..2000u16)
        .map(|n| collision((0x0a00_0003, 1000 + n), SERVER, 0).swap_remove(0).1)
        .collect();
    let hook = format!("[[webhook]]\nurl = \"{}\"\n", server.url());
    let spool = dir.path().join("spool");
    let more = format!(
        "[detection]\nhost_model = [\"10.0.0.2=freebsd\"]\nmax_tuples = 5000\n\
         [webhooks]\nspool_dir = \"{}\"\n",
        spool.display()
    );
    fs::write(&config, format!("{base}{more}{hook}")).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| net.send(&busy));
        sensor.reload();
        let said = sensor.says("reload: the configuration is right");
        assert!(said.contains("detection.host_model") && said.contains("webhook"), "{said}");
        let kept = sensor.says("needs a restart");
        assert!(kept.contains("detection.max_tuples") && kept.contains(":7"), "{kept}");
    });
    // Workers take it within a tenth of a second.
    thread::sleep(Duration::from_millis(300));
    net.send(colliding);
    let event = sensor.event("a collision", is_firing);
    assert_eq!(event["tuple_reuse"]["host_model"], "freebsd", "{event:#}");
    assert_eq!(event["tuple_reuse"]["host_model_from"], "config", "{event:#}");
    let group = event["alert"]["group"]["id"].clone();
    server.wait_for("the alert", |requests| !requests.is_empty());

    // Another reload in the middle of the alert: its group goes on under its id, at another hook.
    let group_keys = "[group]\nquiet = \"1s\"\ninterval = \"1s\"\n";
    let other = hook.replace("/hook", "/other");
    fs::write(&config, format!("{base}{group_keys}{more}{other}")).unwrap();
    sensor.reload();
    let said = sensor.says("reload: the configuration is right");
    assert!(said.contains("group.interval, group.quiet, webhook"), "{said}");
    // A try that the first hook is in the middle of goes on.
    thread::sleep(Duration::from_millis(300));
    let before = server.taken().len();
    net.send(
        &collision((0x0a00_0001, 40_001), SERVER, 0)
            .into_iter()
            .map(|(_, f)| f)
            .collect::<Vec<_>>(),
    );
    server.wait_for("news", |requests| requests.iter().any(|request| request.path == "/other"));
    let stats = sensor.end();
    let requests = server.taken();
    assert!(requests[before..].iter().all(|request| request.path == "/other"), "{requests:#?}");
    let last = requests.last().unwrap().event();
    assert_eq!(last["alert"]["state"], "resolved", "{last:#}");
    for request in &requests {
        assert_eq!(request.event()["alert"]["id"], last["alert"]["id"], "one group: {group}");
    }
    for lost in ["rx_ring_full", "handoff_lost", "aggregator_lost", "reporter_lost"] {
        assert_eq!(stats["stats"]["capture"][lost].as_u64().unwrap_or(0), 0, "{lost}: {stats:#}");
    }
    let sent = (2 * frames.len() + busy.len()) as u64;
    assert_eq!(stats["stats"]["capture"]["received"], sent, "every frame: {stats:#}");
}
