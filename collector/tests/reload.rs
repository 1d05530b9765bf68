//! SIGHUP, live in a network namespace under traffic: what can change does, nothing is lost, and a
//! mistake changes nothing. Needs root; says so without.
#![cfg(all(feature = "xdp", feature = "webhook"))]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use common::hook::{GOOD, Server};
use common::net::{Net, Sender, can_run, send_signal};
use common::{collision, is_from};
use serde_json::Value;

const SERVER: (u32, u16) = (0x0a00_0002, 80);

/// Frames of a collision before the tuple comes back.
const FIRST_CONNECTION: usize = 6;

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
    let (close, colliding) = frames.split_at(FIRST_CONNECTION);
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

/// Sends the client's frames out of `tx0`, the server's out of `tx1`, as a tap that splits directions.
fn send_split(net: &Net, frames: &[Vec<u8>]) {
    net.inside(|| {
        let (there, back) = (Sender::open("tx0"), Sender::open("tx1"));
        for frame in frames {
            if is_from(SERVER, frame) {
                back.send(frame)
            } else {
                there.send(frame)
            }
            // SYNs that come closer together are copies of one.
            thread::sleep(Duration::from_millis(10));
        }
    });
}

#[test]
fn a_reload_under_traffic_on_two_interfaces_loses_nothing() {
    if !can_run("a_reload_under_traffic_on_two_interfaces_loses_nothing") {
        return;
    }
    let net = Net::with_two_pairs(1);
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("xdpwatch.toml");
    let base = "[api]\nlisten = \"off\"\n[input]\n";
    fs::write(&config, format!("{base}iface = [\"rx0\", \"rx1\"]\n")).unwrap();
    let sensor = Sensor::start(&net, &config);
    sensor.says("watching rx1");
    let frames: Vec<_> =
        collision((0x0a00_0001, 40_000), SERVER, 0).into_iter().map(|(_, frame)| frame).collect();
    let (close, colliding) = frames.split_at(FIRST_CONNECTION);
    send_split(&net, close);

    // Both directions of other connections arrive while it reads again what it watches.
    let busy: Vec<Vec<u8>> = (0..50u16)
        .flat_map(|n| collision((0x0a00_0003, 1000 + n), SERVER, 0).into_iter().take(2))
        .map(|(_, frame)| frame)
        .collect();
    let model = "[detection]\nhost_model = [\"10.0.0.2=freebsd\"]\n";
    fs::write(&config, format!("{base}iface = [\"rx1\"]\n{model}")).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| send_split(&net, &busy));
        sensor.reload();
        let said = sensor.says("reload: the configuration is right");
        assert!(said.contains("detection.host_model"), "{said}");
        let kept = sensor.says("needs a restart");
        assert!(kept.contains("input.iface") && kept.contains(":4"), "{kept}");
    });
    thread::sleep(Duration::from_millis(300));

    // Both go on into one set of tables, which knows the connection of before and the new model.
    send_split(&net, colliding);
    let event = sensor.event("a collision", is_firing);
    assert_eq!(event["in_iface"], "rx0+rx1", "{event:#}");
    assert_eq!(event["tuple_reuse"]["host_model"], "freebsd", "{event:#}");
    assert_eq!(event["tuple_reuse"]["host_model_from"], "config", "{event:#}");
    let stats = sensor.end();
    let sent: Vec<_> = frames.iter().chain(&busy).collect();
    let by_server = sent.iter().filter(|frame| is_from(SERVER, frame)).count();
    let rows = stats["interfaces"].as_array().expect("interfaces");
    let received: Vec<_> = rows.iter().map(|row| row["received"].as_u64().unwrap()).collect();
    let expected = [sent.len() - by_server, by_server].map(|count| count as u64);
    assert_eq!(received, expected, "every frame: {stats:#}");
    for lost in ["rx_ring_full", "handoff_lost", "aggregator_lost", "reporter_lost"] {
        assert_eq!(stats["stats"]["capture"][lost].as_u64().unwrap_or(0), 0, "{lost}: {stats:#}");
    }
}

#[test]
fn a_file_in_a_folder_that_the_sandbox_does_not_know_is_refused_with_the_cure() {
    if !can_run("a_file_in_a_folder_that_the_sandbox_does_not_know_is_refused_with_the_cure") {
        return;
    }
    let net = Net::new(1);
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = dir.path().join("xdpwatch.toml");
    let base = "[input]\niface = [\"rx0\"]\n[api]\nlisten = \"off\"\n[rights]\nuser = \"root\"\n";
    fs::write(&config, base).unwrap();
    let sensor = Sensor::start(&net, &config);
    let [near, far] = [&dir, &elsewhere].map(|dir| dir.path().join("secret"));
    let reload_with = |secret: &Path| {
        fs::write(secret, "0123456789abcdef0123456789abcdef").unwrap();
        fs::set_permissions(secret, fs::Permissions::from_mode(0o600)).unwrap();
        let secret = secret.display();
        let hook = "[[webhook]]\nurl = \"http://127.0.0.1:9/\"\nsecret_file";
        fs::write(&config, format!("{base}{hook} = \"{secret}\"\n")).unwrap();
        sensor.reload();
    };
    reload_with(&far);
    let said = sensor.says("webhook.secret_file");
    let folder = elsewhere.path().display().to_string();
    for part in ["the sandbox keeps ", &folder, "restart xdpwatch", "/etc/xdpwatch"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    sensor.says("everything stays as it was");
    // Where the configuration lies, a file may come later.
    reload_with(&near);
    sensor.says("reload: the configuration is right");
}
