//! Webhooks over TLS: a private authority is trusted where it is configured and nowhere else; what
//! does not speak TLS is told; and a proxy is asked for the way.
#![cfg(feature = "webhook")]

mod common;

use std::fs;
use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::thread;

use common::hook::{GOOD, Server, read_request};
use common::tls::TlsServer;
use common::{capture, run, stderr};

fn replay(url: &str, more: &[&str]) -> Output {
    let (file, spool) = (capture("server-side.pcap"), tempfile::tempdir().unwrap());
    let fixed = ["-r", file.to_str().unwrap(), "--webhook", url];
    let quick = ["--webhook-retry", "50ms", "--webhook-timeout", "2s"];
    let spool = ["--spool-dir", spool.path().to_str().unwrap()];
    run(&[&fixed[..], &quick, &spool, more].concat())
}

#[test]
fn a_private_authority_is_trusted_where_it_is_configured() {
    let server = TlsServer::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    fs::write(&file, &server.authority).unwrap();
    let output = replay(&server.url(), &["--webhook-ca-file", file.to_str().unwrap()]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    assert_eq!(server.bodies.lock().unwrap().len(), 2);
}

#[test]
fn an_unknown_authority_is_not_trusted() {
    let server = TlsServer::start();
    let output = replay(&server.url(), &["--webhook-wait", "300ms"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("certificate") && said.contains("2 wait there"), "{said}");
    assert_eq!(server.bodies.lock().unwrap().len(), 0);
    let other = TlsServer::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("other.pem");
    fs::write(&file, &other.authority).unwrap();
    let other = ["--webhook-ca-file", file.to_str().unwrap(), "--webhook-wait", "300ms"];
    assert_eq!(replay(&server.url(), &other).status.code(), Some(1));
    assert_eq!(server.bodies.lock().unwrap().len(), 0);
}

#[test]
fn a_server_without_tls_is_told() {
    let server = Server::start(|_| GOOD);
    let url = format!("https://127.0.0.1:{}/", server.port);
    let output = replay(&url, &["--webhook-wait", "300ms"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("127.0.0.1"), "{}", stderr(&output));
}

#[test]
fn a_proxy_from_the_environment_is_asked_for_the_way() {
    let server = Server::start(|_| GOOD);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (kept, port) = (Arc::clone(&asked), server.port);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            kept.lock().unwrap().push(read_request(&mut reader).unwrap().path);
            let mut upstream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            (&stream).write_all(b"HTTP/1.1 200 Connected\r\n\r\n").unwrap();
            let (mut to, mut from) = (upstream.try_clone().unwrap(), stream.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut reader, &mut to));
            let mut byte = [0];
            while matches!(upstream.read(&mut byte), Ok(1)) && from.write_all(&byte).is_ok() {}
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let file = capture("server-side.pcap");
    let output = common::xdpwatch()
        .args(["-r", file.to_str().unwrap(), "--webhook", "http://hooks.invalid:8080/x"])
        .args(["--spool-dir", dir.path().to_str().unwrap()])
        .env("ALL_PROXY", &proxy)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(server.taken().len(), 2);
    assert!(asked.lock().unwrap()[0].contains("hooks.invalid:8080"));
}
