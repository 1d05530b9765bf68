//! A quiet hour: thousands of healthy connections per second as a mirror port shows them, with losses,
//! retransmissions, copies and reordering. No alert of severity 1 or 2 may fire.
//!
//! The clock is virtual and the hour cut to minutes. `XDPWATCH_LONG=1` makes it the full hour (best with
//! `--release`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use xdpwatch_core::aggregate::Aggregate;
use xdpwatch_core::detect::Limits;
use xdpwatch_core::finding::{Finding, State};
use xdpwatch_core::watch::{Config, Output, Watch};
use xdpwatch_prog::record::{Record, flags, marks};

const BEGIN_US: u64 = 1_700_000_000_000_000;
const SECOND_US: u64 = 1_000_000;

/// Segments lost of a thousand: before the tap, behind it, and by the mirror itself.
const LOST_OF_1000: u64 = 1;

/// How the hour is.
#[derive(Clone, Copy)]
struct Hour {
    per_s: u64,
    seconds: u64,
    seed: u64,
    /// Whether the mirror shows each segment on its way in and on its way out.
    copies: bool,
    /// Whether the mirror itself loses segments too. Without copies, a FIN that nobody saw leaves its
    /// connection half-closed for ever, which nothing here can tell from the truth.
    mirror_loses: bool,
}

/// Small numbers at random, the same for one seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn lost(&mut self) -> bool {
        self.below(1000) < LOST_OF_1000
    }
}

/// What a connection sends next.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Syn,
    SynAck,
    Ack,
    Request,
    Response,
    ResponseAck,
    FirstFin,
    FirstFinAck,
    SecondFin,
    LastAck,
}

struct Connection {
    client: u16,
    port: u16,
    service: u8,
    server_closes: bool,
    /// The second FIN carries the acknowledgment of the first.
    joint_fin: bool,
    requests: u8,
    phase: Phase,
    began_us: u64,
    half_rtt_us: u64,
    next: [u32; 2],
    clock: [u32; 2],
    seen: [u32; 2],
}

/// Ports of one source: those in use are out, those free again wait for TIME_WAIT to pass.
struct Ports {
    fresh: u16,
    free: VecDeque<(u64, u16)>,
}

struct World {
    hour: Hour,
    dice: Dice,
    connections: Vec<Connection>,
    idle: Vec<usize>,
    due: BinaryHeap<Reverse<(u64, u64, usize)>>,
    tap: BinaryHeap<Reverse<(u64, u64, usize)>>,
    /// Records on their way to the tap's reader, by place.
    records: Vec<Record>,
    places: Vec<usize>,
    ports: Vec<Ports>,
    count: u64,
}

fn address(kind: u8, number: u16) -> [u8; 16] {
    let mut address = [0; 16];
    let [high, low] = number.to_be_bytes();
    address[10..].copy_from_slice(&[0xff, 0xff, 10, kind, high, low]);
    address
}

impl World {
    fn new(hour: Hour) -> Self {
        let sources = (hour.per_s / 50).clamp(3, 200);
        let ports = (0..sources).map(|_| Ports { fresh: 20_000, free: VecDeque::new() }).collect();
        Self {
            hour,
            dice: Dice(hour.seed),
            connections: Vec::new(),
            idle: Vec::new(),
            due: BinaryHeap::new(),
            tap: BinaryHeap::new(),
            records: Vec::new(),
            places: Vec::new(),
            ports,
            count: 0,
        }
    }

    fn open(&mut self, now_us: u64) {
        let dice = &mut self.dice;
        let client = dice.below(self.ports.len() as u64) as u16;
        let ports = &mut self.ports[usize::from(client)];
        let port = match ports.free.front() {
            Some((free_us, port)) if free_us + 65 * SECOND_US < now_us => {
                let port = *port;
                ports.free.pop_front();
                port
            }
            _ => {
                ports.fresh += 1;
                ports.fresh
            }
        };
        let hosts = [u32::from(client), 7000];
        let connection = Connection {
            client,
            port,
            service: dice.below(3) as u8,
            server_closes: dice.below(2) == 0,
            joint_fin: dice.below(3) == 0,
            requests: 1 + dice.below(4) as u8,
            phase: Phase::Syn,
            began_us: now_us,
            half_rtt_us: 100 + dice.below(20_000),
            next: [dice.next() as u32, dice.next() as u32],
            clock: hosts.map(|host| host.wrapping_mul(77_777_777)),
            seen: [0; 2],
        };
        let index = match self.idle.pop() {
            Some(index) => {
                self.connections[index] = connection;
                index
            }
            None => {
                self.connections.push(connection);
                self.connections.len() - 1
            }
        };
        self.schedule(now_us, index);
    }

    fn schedule(&mut self, at_us: u64, index: usize) {
        self.count += 1;
        self.due.push(Reverse((at_us, self.count, index)));
    }

    /// The connection's next segment, or the same again.
    fn proceed(&mut self, now_us: u64, index: usize) {
        let phase = self.connections[index].phase;
        let rto_us = match phase {
            Phase::Syn | Phase::SynAck => SECOND_US,
            _ => 200_000 + 2 * self.connections[index].half_rtt_us,
        };
        let before_tap = self.dice.lost();
        if !before_tap {
            self.send(now_us, index);
        }
        let connection = &mut self.connections[index];
        if before_tap || self.dice.lost() {
            // Nobody repeats a bare ACK: its receiver repeats what it waits to be acknowledged.
            match phase {
                Phase::FirstFinAck => connection.again(Phase::FirstFin),
                Phase::LastAck => connection.again(Phase::SecondFin),
                Phase::Ack => connection.phase = Phase::Request,
                Phase::ResponseAck => return self.after_response(now_us, index),
                _ => {}
            }
            return self.schedule(now_us + rto_us, index);
        }
        connection.arrives();
        let half_rtt_us = connection.half_rtt_us;
        connection.phase = match phase {
            Phase::Syn => Phase::SynAck,
            Phase::SynAck => Phase::Ack,
            Phase::Ack => Phase::Request,
            Phase::Request => Phase::Response,
            Phase::Response => Phase::ResponseAck,
            Phase::ResponseAck => return self.after_response(now_us, index),
            Phase::FirstFin if connection.joint_fin => Phase::SecondFin,
            Phase::FirstFin => Phase::FirstFinAck,
            Phase::FirstFinAck => Phase::SecondFin,
            Phase::SecondFin => Phase::LastAck,
            Phase::LastAck => {
                let (client, port) = (connection.client, connection.port);
                self.ports[usize::from(client)].free.push_back((now_us, port));
                return self.idle.push(index);
            }
        };
        self.schedule(now_us + half_rtt_us, index);
    }

    fn after_response(&mut self, now_us: u64, index: usize) {
        let wait_us = 1000 + self.dice.below(3 * SECOND_US);
        let connection = &mut self.connections[index];
        connection.requests -= 1;
        let more = connection.requests > 0;
        connection.phase = if more { Phase::Request } else { Phase::FirstFin };
        self.schedule(now_us + wait_us, index);
    }

    /// Shows the segment to the tap, unless it would not select it or the mirror loses it.
    fn send(&mut self, now_us: u64, index: usize) {
        let connection = &mut self.connections[index];
        let (from_client, tcp_flags, payload_len) = connection.shape();
        let is_data =
            matches!(connection.phase, Phase::Request | Phase::Response | Phase::ResponseAck);
        let record = connection.segment(now_us, from_client, tcp_flags, payload_len);
        if is_data && now_us > connection.began_us + 5 * SECOND_US {
            return;
        }
        let reordered = self.dice.below(100) == 0;
        let delay_us = if reordered { self.dice.below(3000) } else { 0 };
        let loses = self.hour.mirror_loses;
        if !(loses && self.dice.lost()) {
            self.show(now_us + delay_us, record);
        }
        if self.hour.copies && !(loses && self.dice.lost()) {
            let copy_us = now_us + delay_us + 20 + self.dice.below(400);
            self.show(copy_us, Record { ttl: record.ttl - 1, ..record });
        }
    }

    fn show(&mut self, at_us: u64, record: Record) {
        let record = Record { at_ns: at_us * 1000, ..record };
        let place = match self.places.pop() {
            Some(place) => {
                self.records[place] = record;
                place
            }
            None => {
                self.records.push(record);
                self.records.len() - 1
            }
        };
        self.count += 1;
        self.tap.push(Reverse((at_us, self.count, place)));
    }

    /// Runs the hour and hands batches of records on.
    fn run(mut self, mut observe: impl FnMut(&[Record])) {
        let gap_us = SECOND_US / self.hour.per_s;
        let end_us = BEGIN_US + self.hour.seconds * SECOND_US;
        let mut next_us = BEGIN_US;
        let mut batch = Vec::with_capacity(64);
        while next_us < end_us {
            let now_us = match self.due.peek() {
                Some(Reverse((at_us, ..))) if *at_us < next_us => *at_us,
                _ => next_us,
            };
            while let Some(Reverse((at_us, _, place))) = self.tap.peek().copied()
                && at_us < now_us
            {
                self.tap.pop();
                self.places.push(place);
                batch.push(self.records[place]);
                if batch.len() == 64 {
                    observe(&batch);
                    batch.clear();
                }
            }
            if now_us == next_us {
                self.open(now_us);
                next_us += gap_us;
            } else if let Some(Reverse((at_us, _, index))) = self.due.pop() {
                self.proceed(at_us, index);
            }
        }
        observe(&batch);
    }
}

impl Connection {
    /// Who sends the next segment, its control bits and its length.
    fn shape(&self) -> (bool, u8, u32) {
        let closer_is_client = !self.server_closes;
        match self.phase {
            Phase::Syn => (true, flags::SYN, 0),
            Phase::SynAck => (false, flags::SYN | flags::ACK, 0),
            Phase::Ack | Phase::ResponseAck => (true, flags::ACK, 0),
            Phase::Request => (true, flags::ACK | flags::PSH, 400),
            Phase::Response => (false, flags::ACK | flags::PSH, 1400),
            Phase::FirstFin => (closer_is_client, flags::FIN | flags::ACK, 0),
            Phase::FirstFinAck => (!closer_is_client, flags::ACK, 0),
            Phase::SecondFin => (!closer_is_client, flags::FIN | flags::ACK, 0),
            Phase::LastAck => (closer_is_client, flags::ACK, 0),
        }
    }

    /// The segment has arrived: its sender goes on behind it.
    fn arrives(&mut self) {
        let (from_client, bits, payload_len) = self.shape();
        let takes = u32::from(bits & (flags::SYN | flags::FIN) != 0) + payload_len;
        let next = &mut self.next[usize::from(!from_client)];
        *next = next.wrapping_add(takes);
    }

    /// Its sender goes back to a FIN whose acknowledgment was lost.
    fn again(&mut self, fin: Phase) {
        self.phase = fin;
        let (from_client, ..) = self.shape();
        let next = &mut self.next[usize::from(!from_client)];
        *next = next.wrapping_sub(1);
    }

    fn segment(&mut self, now_us: u64, from_client: bool, bits: u8, payload_len: u32) -> Record {
        let (own, peer) = if from_client { (0, 1) } else { (1, 0) };
        let client = (address(1, self.client), self.port);
        let server = (address(2, u16::from(self.service)), 80);
        let (src, dst) = if from_client { (client, server) } else { (server, client) };
        let ts_val = self.clock[own].wrapping_add((now_us / 1000) as u32);
        let record = Record {
            at_ns: now_us * 1000,
            src_addr: src.0,
            dst_addr: dst.0,
            src_port: src.1,
            dst_port: dst.1,
            seq: self.next[own],
            ack: if bits & flags::ACK == 0 { 0 } else { self.next[peer] },
            flags: bits,
            payload_len,
            ts_val,
            ts_ecr: if bits & flags::ACK == 0 { 0 } else { self.seen[peer] },
            window: 500,
            window_scale: 7,
            ttl: 64,
            marks: marks::TIMESTAMPS | if bits & flags::SYN == 0 { 0 } else { marks::WINDOW_SCALE },
            ..Record::default()
        };
        self.seen[own] = ts_val;
        record
    }
}

/// How often each rule fired, by severity, and the findings that must not be.
fn watch(hour: Hour) -> (BTreeMap<(&'static str, u8), u64>, Vec<Finding>, u64) {
    let seeds = [hour.seed, 2, 3, 4];
    let mut watch = Watch::new(Config {
        max_tuples: 1 << 22,
        horizon_ns: 300_000_000_000,
        carries_data: true,
        seeds,
        ..Config::default()
    });
    let mut aggregate = Aggregate::new(&Limits::default(), seeds);
    let mut out: Vec<Output> = Vec::new();
    let (mut fired, mut severe, mut records) = (BTreeMap::new(), Vec::new(), 0);
    World::new(hour).run(|batch| {
        records += batch.len() as u64;
        watch.observe(batch, &mut out);
        for output in out.drain(..) {
            aggregate.handle(&output, &mut |finding| {
                if finding.state == State::Firing {
                    *fired.entry((finding.rule.name, finding.severity)).or_insert(0) += 1;
                }
                if finding.severity <= 2 {
                    severe.push(finding);
                }
            });
        }
    });
    assert_eq!(watch.counters().table_refused, 0, "the table is large enough");
    (fired, severe, records)
}

fn is_quiet(hour: Hour) {
    let long = std::env::var_os("XDPWATCH_LONG").is_some();
    let hour = Hour { seconds: if long { 3600 } else { hour.seconds }, ..hour };
    let (fired, severe, records) = watch(hour);
    println!("{records} records of {} s, seed {}: {fired:?}", hour.seconds, hour.seed);
    assert!(records > hour.per_s * hour.seconds * 6, "{records} records are no traffic");
    for finding in &severe {
        let facts = ["holder.state", "holder.since_ms", "answer", "syn_count", "outcome"];
        let facts = facts.map(|label| finding.fact(label));
        println!("{} {:?} cause {}: {facts:?}", finding.rule.name, finding.state, finding.cause);
    }
    assert!(severe.is_empty(), "{} severe: {:#?}", severe.len(), severe.first());
}

#[test]
fn ten_thousand_connections_a_second() {
    is_quiet(Hour { per_s: 10_000, seconds: 12, seed: 1, copies: true, mirror_loses: true });
}

#[test]
fn a_thousand_connections_a_second_for_longer_than_any_limit() {
    is_quiet(Hour { per_s: 1_000, seconds: 150, seed: 6, copies: true, mirror_loses: true });
}

#[test]
fn a_mirror_without_copies() {
    is_quiet(Hour { per_s: 1_000, seconds: 100, seed: 2, copies: false, mirror_loses: false });
}

#[test]
fn a_small_site_and_other_seeds() {
    for seed in 3..6 {
        let copies = seed % 2 == 1;
        let hour = Hour { per_s: 50, seconds: 300, seed, copies, mirror_loses: copies };
        is_quiet(hour);
    }
}
