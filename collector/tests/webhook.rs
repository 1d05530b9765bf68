//! Webhooks through the binary, against a server that fails in every way: what arrives, in which
//! order, signed how; what is kept when nothing arrives; and where secrets never show.
#![cfg(feature = "webhook")]

mod common;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::hook::{Answer, GOOD, Request, Server, verify};
use common::{capture, run, stderr, stdout};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Replays field case 5 with a hook: a firing message and its end.
fn replay(url: &str, spool: &Path, more: &[&str]) -> Output {
    let (file, spool) = (capture("server-side.pcap"), spool.to_str().unwrap());
    let fixed = ["-r", file.to_str().unwrap(), "--webhook", url, "--spool-dir", spool];
    run(&[&fixed[..], &["--webhook-retry", "20ms", "--webhook-timeout", "300ms"], more].concat())
}

/// Files anywhere in the spool, besides locks.
fn spooled(spool: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(spool).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            files.extend(spooled(&entry.path()));
        } else if entry.file_name() != "lock" {
            files.push(entry.path());
        }
    }
    files
}

#[track_caller]
fn assert_firing_then_resolved(taken: &[Request]) {
    let states: Vec<_> =
        taken.iter().map(|request| request.event()["alert"]["state"].clone()).collect();
    assert_eq!(states, ["firing", "resolved"]);
    assert_ne!(taken[0].header("webhook-id"), taken[1].header("webhook-id"));
    let id = |request: &Request| request.event()["alert"]["id"].clone();
    assert_eq!(id(&taken[0]), id(&taken[1]));
}

#[test]
fn a_group_arrives_signed_and_of_the_schema() {
    let server = Server::start(|_| GOOD);
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, SECRET).unwrap();
    let spool = dir.path().join("spool");
    let secret = ["--webhook-secret-file", secret.to_str().unwrap()];
    let output = replay(&server.url(), &spool, &secret);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    let taken = server.taken();
    assert_firing_then_resolved(&taken);
    assert_eq!(verify(&taken, SECRET), 2);
    let schema = serde_json::from_str(xdpwatch::report::json::SCHEMA).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for request in &taken {
        let event = request.event();
        let errors: Vec<_> = validator.iter_errors(&event).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}\n{event:#}");
        let group = &event["alert"]["group"];
        assert_eq!((&group["count"], &group["service"]), (&1.into(), &"10.24.20.26:8080".into()));
        assert_eq!(group["source_pool"], "10.24.20.0/24");
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let sent: u64 = request.header("webhook-timestamp").parse().unwrap();
        assert!(now - sent < 30, "the signature's time is the try's, not the packet's");
    }
    assert_eq!(spooled(&spool), Vec::<std::path::PathBuf>::new(), "nothing is left");
    // Standard output is what it is without hooks.
    let without = run(&["-r", capture("server-side.pcap").to_str().unwrap()]);
    let (with, without) = (stdout(&output), stdout(&without));
    let is_block = |line: &&str| !line.starts_with("  webhooks");
    assert!(with.lines().filter(is_block).eq(without.lines()), "{with}");
}

#[test]
fn every_kind_of_failure_is_tried_again_in_order_and_with_one_id() {
    let wrong = [
        Answer::Status(500, "", "oops"),
        Answer::Status(429, "retry-after: 1\r\n", ""),
        Answer::Close,
        Answer::CloseHalfway,
        Answer::Garbage,
        Answer::Hang,
        Answer::SlowBytes,
        Answer::Status(408, "", ""),
        Answer::Status(503, "retry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n", ""),
        Answer::Status(302, "location: http://127.0.0.1:1/\r\n", ""),
    ];
    let answers = wrong.clone();
    let server = Server::start(move |n| answers.get(n).cloned().unwrap_or(GOOD));
    let dir = tempfile::tempdir().unwrap();
    let long = ["--webhook-wait", "120s"];
    let output = replay(&server.url(), dir.path(), &long);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_firing_then_resolved(&server.taken());
    let requests = server.requests();
    assert_eq!(requests.len(), wrong.len() + 2, "each failure was met once");
    let id = requests[0].header("webhook-id");
    assert!(requests[..=wrong.len()].iter().all(|request| request.header("webhook-id") == id));
    let waited = requests[2].at - requests[1].at;
    assert!(waited >= Duration::from_secs(1), "Retry-After is honoured: {waited:?}");
}

#[test]
fn what_is_refused_for_good_goes_to_the_dead_letters() {
    let server = Server::start(|n| match n {
        0 => Answer::Status(400, "", "no such\nfield"),
        _ => GOOD,
    });
    let dir = tempfile::tempdir().unwrap();
    let output = replay(&server.url(), dir.path(), &[]);
    assert_eq!(output.status.code(), Some(1), "not all arrived");
    assert!(stderr(&output).contains("1 were refused"), "{}", stderr(&output));
    let letters = spooled(dir.path());
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].parent().unwrap().file_name().unwrap(), "dead");
    let letter: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&letters[0]).unwrap()).unwrap();
    assert_eq!(letter["reason"], "status 400: no such field");
    assert_eq!(letter["message"]["event"]["alert"]["state"], "firing");
    assert_eq!(server.requests().len(), 2, "the refused one was not tried again");
}

#[test]
fn a_dead_endpoint_loses_nothing_and_the_next_run_delivers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://127.0.0.1:{}/hook", listener.local_addr().unwrap().port());
    let address = listener.local_addr().unwrap();
    drop(listener);
    let dir = tempfile::tempdir().unwrap();
    let output = replay(&url, dir.path(), &["--webhook-wait", "200ms"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("2 wait there for the next run") && said.contains("refused"), "{said}");
    let waiting = spooled(dir.path());
    assert_eq!(waiting.len(), 2);
    // The endpoint is back; the next run has nothing of its own to send.
    let server = Server::on(TcpListener::bind(address).unwrap(), |_| GOOD);
    let empty = dir.path().join("empty.pcap");
    fs::write(&empty, common::pcap(&[], false, false, 1)).unwrap();
    let spool = dir.path().to_str().unwrap();
    let output = run(&["-r", empty.to_str().unwrap(), "--webhook", &url, "--spool-dir", spool]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let taken = server.taken();
    assert_firing_then_resolved(&taken);
    for (request, path) in
        taken.iter().zip(waiting.iter().collect::<std::collections::BTreeSet<_>>())
    {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.contains(request.header("webhook-id")), "{name}");
    }
}

#[test]
fn a_redirect_is_not_followed() {
    let other = Server::start(|_| GOOD);
    let location: &'static str = format!("location: {}\r\n", other.url()).leak();
    for status in [301, 302, 307, 308] {
        let server = Server::start(move |_| Answer::Status(status, location, ""));
        let dir = tempfile::tempdir().unwrap();
        let output = replay(&server.url(), dir.path(), &["--webhook-wait", "300ms"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("redirects are not followed"), "{}", stderr(&output));
    }
    assert_eq!(other.requests().len(), 0);
}

#[test]
fn no_secret_shows_anywhere() {
    let server =
        Server::start(|_| Answer::Status(500, "", "key whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let url = file("url", &format!("http://127.0.0.1:{}/services/T0PS3CRET", server.port));
    let secret = file("secret", SECRET);
    let spool = dir.path().join("spool");
    let more = ["--webhook-secret-file", &secret, "--webhook-wait", "200ms", "-vvv"];
    let output = replay(&format!("@{url}"), &spool, &more);
    assert!(!server.requests().is_empty());
    assert!(server.requests()[0].path.ends_with("T0PS3CRET"), "the secret itself is sent");
    let mut seen = stderr(&output) + &stdout(&output);
    for path in spooled(&spool) {
        seen += &format!("{}{}", path.display(), fs::read_to_string(&path).unwrap());
    }
    assert!(seen.contains("status 500"), "{seen}");
    for secret in ["T0PS3CRET", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
        let line = seen.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} shows");
    }
}

#[test]
fn the_probe_sends_one_of_each_and_says_what_came_back() {
    let server =
        Server::start(|n| if n == 0 { GOOD } else { Answer::Status(403, "", "who are you") });
    let output = common::run_bare(&["webhook", "test", "--webhook", &server.url()]);
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{said}{}", stderr(&output));
    let lines: Vec<_> = said.lines().collect();
    assert!(lines[0].contains("firing taken, status 200: fine ("), "{said}");
    assert!(lines[1].contains("resolved refused, status 403: who are you ("), "{said}");
    let events: Vec<_> = server.requests().iter().map(Request::event).collect();
    assert!(events[0]["alert"]["summary"].as_str().unwrap().starts_with("TEST"));
    assert_eq!((events.len(), &events[1]["alert"]["state"]), (2, &"resolved".into()));
}

#[test]
fn a_server_does_not_steer_the_terminal() {
    let server = Server::start(|_| Answer::Status(400, "", "\u{1b}[31mred\u{9b}0m"));
    let probed = common::run_bare(&["webhook", "test", "--webhook", &server.url()]);
    let dir = tempfile::tempdir().unwrap();
    let said = [stdout(&probed), stderr(&replay(&server.url(), dir.path(), &[]))];
    for said in said {
        assert!(said.contains("status 400: \\u{1b}[31mred"), "{said}");
        assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "{said:?}");
    }
}

#[test]
fn the_probe_ends_quietly_with_its_reader_and_says_what_keeps_it_from_writing() {
    let server = Server::start(|_| GOOD);
    let url = server.url();
    let probe = |out: std::process::Stdio| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_xdpwatch"));
        command.args(["webhook", "test", "--webhook", &url]).stdout(out);
        let output = command.stderr(std::process::Stdio::piped()).output().unwrap();
        (output.status.code(), stderr(&output))
    };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(probe(writer.into()), (Some(0), String::new()));
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (status, said) = probe(full.into());
    assert_eq!(status, Some(1), "{said}");
    assert!(said.starts_with("xdpwatch: standard output: "), "{said}");
}

#[test]
fn a_spooled_message_of_random_bytes_goes_to_the_dead_letters() {
    let is_well = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_well);
    let server = Server::start(move |_| match seen.load(Ordering::Relaxed) {
        true => GOOD,
        false => Answer::Status(500, "", ""),
    });
    let dir = tempfile::tempdir().unwrap();
    replay(&server.url(), dir.path(), &["--webhook-wait", "100ms"]);
    is_well.store(true, Ordering::Relaxed);
    let is_first = |path: &std::path::PathBuf| path.to_string_lossy().contains(".firing.");
    let waiting = spooled(dir.path()).into_iter().find(is_first).expect("the first waits");
    fs::write(&waiting, [0xff, 0xfe, 0x00, 0x80]).unwrap();
    let output = replay(&server.url(), dir.path(), &[]);
    assert!(stderr(&output).contains("the spooled file is damaged"), "{}", stderr(&output));
    let letter = waiting.parent().unwrap().join("dead").join(waiting.file_name().unwrap());
    assert!(fs::read_to_string(letter).unwrap().contains("the spooled file is damaged"));
    assert!(!waiting.exists(), "its group goes on");
}

#[test]
fn wrong_options_name_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    let cases: [(&str, &[&str], &str); 3] = [
        ("hooks.example", &[], "https://host"),
        ("http://h/", &["--webhook-format", "pagerduty"], "routing key"),
        ("http://h/", &["--webhook-format", "template"], "template file"),
    ];
    for (url, more, hint) in cases {
        let output = replay(url, dir.path(), more);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(hint), "{}", stderr(&output));
    }
}
