//! The distribution's Alertmanager takes field case 5: its API shows the alert while it fires, and it
//! tells its own receivers of the end.
#![cfg(feature = "webhook")]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::hook::{GOOD, Server};
use common::{capture, xdpwatch};
use serde_json::Value;

/// Ends the process at the end of the test, however that comes.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it on a free port; none if it is not installed.
fn alertmanager(dir: &Path, receiver: &str) -> Option<(Ended, u16)> {
    let config = format!(
        "route: {{receiver: test, group_wait: 0s, group_interval: 1s}}\n\
         receivers: [{{name: test, webhook_configs: [{{url: '{receiver}'}}]}}]\n"
    );
    fs::write(dir.join("config.yml"), config).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let names = ["prometheus-alertmanager", "alertmanager"];
    let child = names.iter().find_map(|name| {
        Command::new(name)
            .arg(format!("--config.file={}", dir.join("config.yml").display()))
            .arg(format!("--storage.path={}", dir.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.join("log")).unwrap())
            .spawn()
            .ok()
    })?;
    let child = Ended(child);
    let began = Instant::now();
    while get(port, "/-/ready").is_none() {
        let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
        assert!(began.elapsed() < Duration::from_secs(30), "it does not become ready: {log}");
        thread::sleep(Duration::from_millis(50));
    }
    Some((child, port))
}

/// The body of a good answer.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.0 200").then(|| body.to_owned())
}

fn shown(port: u16) -> Vec<Value> {
    serde_json::from_str(&get(port, "/api/v2/alerts").expect("it answers")).unwrap()
}

#[track_caller]
fn wait_until(what: &str, is: impl Fn() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < Duration::from_secs(30), "waited in vain for {what}");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn it_shows_field_case_5_and_its_resolution() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Server::start(|_| GOOD);
    let Some((_running, port)) = alertmanager(dir.path(), &receiver.url()) else {
        println!("SKIPPED: prometheus-alertmanager is not installed (tools/setup --test)");
        return;
    };
    // The capture comes through a pipe: all but its last packet, and the rest when all was seen.
    let mut sensor = xdpwatch()
        .args(["-r", "-", "--batch", "1", "--webhook-format", "alertmanager", "--webhook"])
        .arg(format!("http://127.0.0.1:{port}/api/v2/alerts"))
        .arg("--spool-dir")
        .arg(dir.path().join("spool"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let bytes = fs::read(capture("server-side.pcap")).unwrap();
    let (most, rest) = bytes.split_at(bytes.len() - 20);
    let mut stdin = sensor.stdin.take().unwrap();
    stdin.write_all(most).unwrap();
    wait_until("the alert", || !shown(port).is_empty());
    let alerts = shown(port);
    assert_eq!(alerts.len(), 1);
    let alert = &alerts[0];
    assert_eq!(alert["status"]["state"], "active");
    assert_eq!(alert["labels"]["alertname"], "tuple_reuse");
    assert_eq!(alert["labels"]["service"], "10.24.20.26:8080");
    assert_eq!(alert["labels"]["source_pool"], "10.24.20.0/24");
    assert_eq!(alert["annotations"]["cause"], "paws");
    receiver.wait_for("its call to the receiver", |requests| !requests.is_empty());

    stdin.write_all(rest).unwrap();
    drop(stdin);
    assert!(sensor.wait().unwrap().success());
    wait_until("the end of the alert", || shown(port).is_empty());
    receiver.wait_for("its call about the end", |requests| {
        requests.iter().any(|request| request.event()["status"] == "resolved")
    });
    let requests = receiver.requests();
    let resolved =
        requests.iter().map(|request| request.event()).find(|event| event["status"] == "resolved");
    let alert = &resolved.unwrap()["alerts"][0];
    assert_eq!(alert["endsAt"], "2019-03-12T00:12:26.620857Z");
    assert_eq!(alert["annotations"]["severity"], "1", "it failed");
}
