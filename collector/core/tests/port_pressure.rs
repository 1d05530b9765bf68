//! Port pressure against exact counting: a source opens 2000 connections a second from 64 k ports.

use std::collections::HashMap;

use xdpwatch_core::aggregate::Aggregate;
use xdpwatch_core::detect::Limits;
use xdpwatch_core::finding::{Fact, Finding, State};
use xdpwatch_core::ports::{Ports, Use};
use xdpwatch_core::prefix::Prefix;
use xdpwatch_core::watch::{Config, Watch};
use xdpwatch_prog::record::{Record, flags};

const SECOND: u64 = 1_000_000;
const BEGIN_US: u64 = 1_700_000_000 * SECOND + 123_456;
const SEEDS: [u64; 4] = [1, 2, 3, 4];

/// Numbers that look random and are the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// What is true: until when each port is held, to the microsecond.
#[derive(Default)]
struct Exact(HashMap<u16, u64>);

impl Exact {
    fn held(&self, now_us: u64) -> u32 {
        self.0.values().filter(|until| **until > now_us).count() as u32
    }
}

#[test]
fn counting_is_within_two_percent_of_exact() {
    let (mut ports, mut exact, mut random) = (Ports::default(), Exact::default(), Random(7));
    ports.begin(0, BEGIN_US);
    // Ends to come: (when, port), in order.
    let mut ends = std::collections::BTreeSet::new();
    let mut worst = 0.0f64;
    for n in 0..400_000u64 {
        let now_us = BEGIN_US + n * 500;
        while let Some((at_us, port)) = ends.first().copied().filter(|(at_us, _)| *at_us <= now_us)
        {
            ends.remove(&(at_us, port));
            let waits = random.below(8) != 0;
            ports.end(port, waits, at_us);
            exact.0.insert(port, if waits { at_us + 60 * SECOND } else { at_us });
        }
        let free = (0..64)
            .map(|_| 1024 + random.below(64_512) as u16)
            .find(|port| exact.0.get(port).is_none_or(|until| *until <= now_us));
        if let Some(port) = free {
            ports.open(port, false, now_us);
            ports.keep(port, true, now_us + 100);
            exact.0.insert(port, u64::MAX);
            ends.insert((now_us + 10_000 + random.below(200_000), port));
        }
        if n % 20_000 == 19_999 {
            ports.pass_time(now_us);
            let (held, truth) = (f64::from(ports.held()), f64::from(exact.held(now_us)));
            worst = worst.max((held - truth).abs() / truth);
        }
    }
    assert!(exact.held(BEGIN_US + 200 * SECOND) > 55_000, "all ports that wait did run out");
    assert!(worst <= 0.02, "off by {:.2} %", 100.0 * worst);
}

#[test]
fn uses_end_by_themselves_and_time_may_jump() {
    let mut ports = Ports::default();
    ports.begin(3, BEGIN_US);
    ports.open(5000, false, BEGIN_US);
    ports.open(5001, true, BEGIN_US);
    ports.end(5001, true, BEGIN_US + SECOND);
    assert_eq!((ports.held(), ports.what(5001)), (5, Use::Waiting));
    ports.keep(6000, true, BEGIN_US + SECOND);
    assert_eq!(ports.held(), 5, "one of those open before now has a name");
    ports.pass_time(BEGIN_US + 62 * SECOND);
    assert_eq!((ports.what(5000), ports.what(5001), ports.held()), (Use::Free, Use::Free, 3));
    ports.pass_time(BEGIN_US + 400_000_000 * SECOND);
    assert_eq!(ports.held(), 0);
}

fn address(last: u8) -> [u8; 16] {
    let mut address = [0; 16];
    address[10..].copy_from_slice(&[0xff, 0xff, 10, 0, 0, last]);
    address
}

/// A connection of a source's port: opened, closed first by the server, in TIME-WAIT 3 ms later.
fn connection(port: u16, at_us: u64, isn: u32, resets: bool) -> Vec<Record> {
    let shape = |n: u64, from_client: bool, tcp_flags: u8, seq: u32, ack: u32| {
        let (client, server) = ((address(1), port), (address(2), 80));
        let (src, dst) = if from_client { (client, server) } else { (server, client) };
        Record {
            at_ns: (at_us + n * 500) * 1000,
            src_addr: src.0,
            src_port: src.1,
            dst_addr: dst.0,
            dst_port: dst.1,
            flags: tcp_flags,
            seq,
            ack,
            window: 500,
            ..Record::default()
        }
    };
    let (ack, fin, syn) = (flags::ACK, flags::FIN | flags::ACK, flags::SYN);
    let mut segments = vec![
        shape(0, true, syn, isn, 0),
        shape(1, false, syn | ack, 900, isn.wrapping_add(1)),
        shape(2, true, ack, isn.wrapping_add(1), 901),
    ];
    if resets {
        segments.push(shape(3, true, flags::RST, isn.wrapping_add(1), 0));
    } else {
        segments.extend([
            shape(3, false, fin, 901, isn.wrapping_add(1)),
            shape(4, true, fin, isn.wrapping_add(1), 902),
            shape(5, false, ack, 902, isn.wrapping_add(2)),
        ]);
    }
    segments
}

/// Plays connections of one source, `per_s` of them for `seconds`, and then silence of two minutes.
fn play(ports: &[u16], per_s: u64, seconds: u64, resets: bool, limits: &Limits) -> Vec<Finding> {
    play_retuned(ports, per_s, seconds, resets, [limits, limits])
}

/// The same with other limits from the middle on.
fn play_retuned(
    ports: &[u16],
    per_s: u64,
    seconds: u64,
    resets: bool,
    limits: [&Limits; 2],
) -> Vec<Finding> {
    let config = Config {
        max_tuples: 1 << 17,
        horizon_ns: 300_000_000_000,
        seeds: SEEDS,
        ..Config::default()
    };
    let mut watch = Watch::new(config);
    let mut aggregate = Aggregate::new(limits[0], SEEDS);
    let (mut out, mut found) = (Vec::new(), Vec::new());
    let mut records: Vec<Record> = (0..per_s * seconds)
        .flat_map(|n| {
            let port = ports[n as usize % ports.len()];
            connection(port, BEGIN_US + n * SECOND / per_s, n as u32 * 40_000, resets)
        })
        .collect();
    records.sort_by_key(|record| record.at_ns);
    let middle = records.len() / 64 / 2;
    for (n, batch) in records.chunks(64).enumerate() {
        if n == middle {
            aggregate.retune(limits[1]);
        }
        watch.observe(batch, &mut out);
        out.drain(..).for_each(|output| aggregate.handle(&output, &mut |f| found.push(f)));
    }
    let end_ns = (BEGIN_US + (seconds + 120) * SECOND) * 1000;
    watch.tick(end_ns, &mut out);
    out.drain(..).for_each(|output| aggregate.handle(&output, &mut |f| found.push(f)));
    aggregate.pass_time(end_ns, &mut |f| found.push(f));
    found.retain(|finding| finding.rule.name == "port_pressure");
    found
}

fn number(finding: &Finding, label: &str) -> i64 {
    match finding.fact(label) {
        Some(Fact::Number(number)) => number,
        other => panic!("{label} is {other:?}"),
    }
}

fn second(finding: &Finding) -> u64 {
    (finding.at_ns / 1000 - BEGIN_US) / SECOND
}

/// Ports as Linux hands them out to one destination: the even ones first, from somewhere on.
fn marching(first: u16, last: u16) -> Vec<u16> {
    let even: Vec<u16> = (first..=last).step_by(2).collect();
    let odd: Vec<u16> = (first + 1..=last).step_by(2).collect();
    let middle = even.len() * 3 / 5;
    even[middle..].iter().chain(&even[..middle]).chain(&odd).copied().collect()
}

/// Field case 2: 2000 connections a second from nearly all ports, gone in half a minute.
#[test]
fn it_is_said_long_before_the_ports_are_gone_and_taken_back() {
    let found = play(&marching(1024, 65_535), 2000, 32, false, &Limits::default());
    let said: Vec<_> = found.iter().map(|f| (f.state, f.severity, f.cause)).collect();
    assert_eq!(
        said,
        [
            (State::Firing, 2, "ports_forecast"),
            (State::Firing, 1, "ports_held"),
            (State::Resolved, 1, "ports_held")
        ]
    );
    assert!(second(&found[0]) <= 12, "at {} s of 32", second(&found[0]));
    let (left, rate) = (number(&found[0], "exhausted_in_s"), number(&found[0], "arrivals_per_s"));
    let error = left + second(&found[0]) as i64 - 32;
    assert!(error.abs() <= 2, "forecast {left} s at {} s", second(&found[0]));
    assert!((1950..=2050).contains(&rate), "{rate}");
    assert_eq!(number(&found[0], "sources_needed"), 3, "120 000 held at 45 158 each");
    assert!((29..32).contains(&second(&found[1])), "{}", second(&found[1]));
    assert!(number(&found[1], "time_wait") > 60_000);
    assert!(found.iter().all(|f| f.id == found[0].id));
}

#[test]
fn linux_ports_are_known_by_their_range() {
    let found = play(&marching(32_768, 60_999), 1000, 28, false, &Limits::default());
    assert_eq!(number(&found[0], "range.size"), 28_232);
    assert!(second(&found[0]) <= 12);
}

#[test]
fn a_rate_that_the_range_bears_is_no_alert() {
    assert_eq!(play(&marching(32_768, 60_999), 300, 100, false, &Limits::default()), []);
}

#[test]
fn a_short_burst_is_no_alert() {
    assert_eq!(play(&marching(32_768, 60_999), 1000, 6, false, &Limits::default()), []);
}

/// Connections closed by RST leave no TIME-WAIT: the ports come back at once.
#[test]
fn resets_hold_no_ports() {
    assert_eq!(play(&marching(1024, 65_535), 2000, 30, true, &Limits::default()), []);
}

#[test]
fn a_configured_range_counts() {
    let small = Limits {
        port_ranges: vec![(Prefix::new(address(1), 128), (40_000, 41_999))],
        ..Limits::default()
    };
    let ports: Vec<u16> = (40_000..42_000).collect();
    let found = play(&ports, 40, 49, false, &small);
    assert_eq!(number(&found[0], "range.size"), 2000);
    let none = Limits::default();
    assert_eq!(play(&ports, 40, 49, false, &none), []);
    let found = play_retuned(&ports, 40, 49, false, [&none, &small]);
    assert_eq!(number(&found[0], "range.size"), 2000, "configured while running");
    assert!(second(&found[0]) >= 24);
}
