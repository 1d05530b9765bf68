//! Metrics and API, asked of the running binary: every route, what is refused, every bound.
#![cfg(feature = "api")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use common::http::{Serving, get, raw, request};
use common::{collision, pcap, run, stderr};

const CLIENT: (u32, u16) = (0x0a00_0001, 40_000);
const SERVER: (u32, u16) = (0x0a00_0002, 80);
const START: u64 = 1_700_000_000_000_000_000;
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn serving(args: &[&str], token: Option<&str>) -> Serving {
    Serving::start(&collision(CLIENT, SERVER, START), args, token)
}

/// Waits until `is_so`.
#[track_caller]
fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < until, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_collision_is_seen_from_every_side() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().to_str().expect("UTF-8");
    let mut sensor = serving(&["--evidence-dir", folder], None);
    let at = sensor.at;
    let open = || get(at, "/api/v1/alerts").json()["open"].as_array().map_or(0, Vec::len);
    wait_for("the alert is open", || open() == 1);
    let alerts = get(at, "/api/v1/alerts").json();
    let alert = &alerts["open"][0];
    assert_eq!(alert["alert"]["state"], "firing");
    assert_eq!(alert["tuple_reuse"]["cause"], "paws");
    let id = alert["alert"]["group"]["id"].as_str().expect("a group");
    let name = alert["alert"]["evidence"].as_str().expect("evidence");
    let evidence = get(at, &format!("/api/v1/evidence/{name}"));
    assert_eq!(evidence.status, 200);
    assert!(evidence.head.to_lowercase().contains("content-type: application/x-pcapng"));
    let file = std::fs::read(dir.path().join(name)).expect("the file");
    assert_eq!(evidence.body, file);
    let services = get(at, "/api/v1/services").json();
    assert_eq!(services["services"][0]["service"], "10.0.0.2:80");
    assert_eq!(services["services"][0]["causes"]["paws"], 1);
    thread::sleep(Duration::from_millis(1100));
    // Another collision long after: the first group is resolved, and the numbers are shown anew.
    let later = collision((CLIENT.0, 50_000), SERVER, START + 600_000_000_000);
    sensor.feed(&pcap(&later, true, false, 1)[24..]);
    let alerts = || get(at, "/api/v1/alerts").json();
    wait_for("the first group is resolved", || alerts()["recent"][0]["alert"]["id"] == id);
    wait_for("the second is open", || open() == 1 && alerts()["open"][0]["alert"]["id"] != id);
    let stats = get(at, "/api/v1/stats").json();
    assert_eq!(stats["vantages"][0]["event_type"], "stats");
    let metrics = get(at, "/metrics");
    assert!(metrics.head.contains("application/openmetrics-text"), "{}", metrics.head);
    let text = metrics.text();
    let fired = "xdpwatch_alerts_fired_total{rule=\"tuple_reuse\",cause=\"paws\"} 2\n";
    assert!(text.contains(fired), "{text}");
    assert!(text.contains("xdpwatch_service_alerts_total{service=\"10.0.0.2:80\"} 2\n"), "{text}");
    for (group, numbers) in stats["vantages"][0]["stats"].as_object().expect("groups") {
        for name in numbers.as_object().into_iter().flat_map(|numbers| numbers.keys()) {
            let metric = format!("xdpwatch_{group}_{name}");
            assert!(group == "skipped" || text.contains(&metric), "{metric}\n{text}");
        }
    }
    assert_eq!(get(at, "/healthz").text(), "alive\n");
    assert_eq!(get(at, "/readyz").status, 200);
    wait_for("a sensor that gets nothing to read is not ready", || {
        get(at, "/readyz").status == 503
    });
}

#[test]
fn only_reading_and_only_what_there_is() {
    let sensor = serving(&[], None);
    let post = request(sensor.at, "POST", "/api/v1/alerts", "Content-Length: 0\r\n");
    assert_eq!(post.status, 405);
    assert!(post.head.to_lowercase().contains("allow: get, head"), "{}", post.head);
    let (head, whole) = (request(sensor.at, "HEAD", "/healthz", ""), get(sensor.at, "/healthz"));
    assert_eq!((head.status, head.text()), (200, String::new()));
    let length = |head: &str| {
        head.lines()
            .find(|line| line.to_lowercase().starts_with("content-length"))
            .map(str::to_owned)
    };
    assert!(length(&whole.head).is_some());
    assert_eq!(length(&head.head), length(&whole.head));
    assert_eq!(get(sensor.at, "/").status, 404);
    let evidence = get(sensor.at, "/api/v1/evidence/0123456789abcdef");
    assert!(evidence.status == 404 && evidence.text().contains("--evidence-dir"));
}

#[test]
fn no_path_leads_out_of_the_evidence() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("evidence");
    std::fs::write(dir.path().join("secret"), "secret").expect("a writable folder");
    let sensor = serving(&["--evidence-dir", folder.to_str().expect("UTF-8")], None);
    for path in ["../secret", "..%2fsecret", ".redact-key", "0123456789ABCDEF", "+123456789abcdef"]
    {
        let answer = get(sensor.at, &format!("/api/v1/evidence/{path}"));
        assert_eq!(answer.status, 404, "{path}");
        assert!(!answer.text().contains("secret"));
    }
}

#[test]
fn an_open_address_needs_token_and_tls() {
    for more in [&[][..], &["--tls-cert", "a", "--tls-key", "b"]] {
        let args = [&["-r", "/dev/null", "--listen", "0.0.0.0:0"], more].concat();
        let output = run(&args);
        assert_eq!(output.status.code(), Some(2));
        for word in ["--token-file", "XDPWATCH_TOKEN", "--tls-cert", "127.0.0.1"] {
            assert!(stderr(&output).contains(word), "{word}: {}", stderr(&output));
        }
    }
}

#[test]
fn the_token_is_asked_for_and_told_to_nobody() {
    let sensor = serving(&[], Some(TOKEN));
    let with = |token: &str| format!("Authorization: Bearer {token}\r\n");
    assert_eq!(get(sensor.at, "/metrics").status, 401);
    let wrong = request(sensor.at, "GET", "/metrics", &with("0123456789abcdef0123456789abcdee"));
    assert_eq!(wrong.status, 401);
    assert!(!wrong.text().contains(TOKEN));
    assert_eq!(request(sensor.at, "GET", "/metrics", &with(TOKEN)).status, 200);
    let small = with(TOKEN).replace("Bearer", "bearer");
    assert_eq!(request(sensor.at, "GET", "/metrics", &small).status, 200);
    let other = with(TOKEN).replace("Bearer", "Basics");
    assert_eq!(request(sensor.at, "GET", "/metrics", &other).status, 401);
    assert_eq!(get(sensor.at, "/healthz").status, 200, "health says nothing and is open");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "short").expect("a writable file");
    let path = file.path().to_str().expect("UTF-8");
    let output = run(&["-r", "/dev/null", "--listen", "127.0.0.1:0", "--token-file", path]);
    assert!(stderr(&output).contains("openssl rand -hex 32"), "{}", stderr(&output));
}

#[test]
fn connections_heads_and_patience_are_bounded() {
    let sensor = serving(&[], None);
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(64 << 10));
    // The server may close while this is still being sent.
    if let Ok(answer) = raw(sensor.at, long.as_bytes()) {
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    let idle: Vec<TcpStream> =
        (0..32).map(|_| TcpStream::connect(sensor.at).expect("a place")).collect();
    thread::sleep(Duration::from_millis(300));
    let mut one_too_many = TcpStream::connect(sensor.at).expect("the kernel accepts");
    let _ = one_too_many.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut answer = Vec::new();
    let _ = one_too_many.read_to_end(&mut answer);
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    wait_for("those who say nothing are sent away", || {
        raw(sensor.at, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .is_ok_and(|answer| answer.ends_with(b"alive\n"))
    });
    drop(idle);
}

/// What this command wrote; `None`, said loudly, where it is not installed.
fn tool(command: &mut Command) -> Option<std::process::Output> {
    let output = command.output();
    if output.is_err() {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: TLS by {}: not installed (tools/setup --test)",
            command.get_program().display()
        );
    }
    output.ok()
}

#[test]
fn tls_with_a_certificate_of_ones_own() {
    let dir = tempfile::tempdir().expect("a folder");
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let (cert, key) = (cert.to_str().expect("UTF-8"), key.to_str().expect("UTF-8"));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ]);
    openssl.args(["-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=localhost"]);
    openssl.args(["-addext", "subjectAltName=IP:127.0.0.1"]);
    let Some(made) = tool(&mut openssl) else { return };
    assert!(made.status.success(), "{}", stderr(&made));
    let sensor = serving(&["--tls-cert", cert, "--tls-key", key], Some(TOKEN));
    let url = format!("https://{}/metrics", sensor.at);
    let token = format!("Authorization: Bearer {TOKEN}");
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--noproxy", "*", "--cacert", cert, "-H", &token, &url]);
    let Some(answer) = tool(&mut curl) else { return };
    assert!(answer.status.success(), "{}", stderr(&answer));
    assert!(common::stdout(&answer).ends_with("# EOF\n"), "{}", common::stdout(&answer));
    let mut trusting_nobody = Command::new("curl");
    trusting_nobody.args(["-sS", "--noproxy", "*", &url]);
    assert!(!tool(&mut trusting_nobody).expect("curl is there").status.success());
    let output =
        run(&["-r", "/dev/null", "--listen", "127.0.0.1:0", "--tls-cert", key, "--tls-key", key]);
    assert!(stderr(&output).contains("--tls-cert"), "{}", stderr(&output));
}
