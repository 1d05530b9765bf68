//! Simulated balancers whose true pairs of legs are known: what the detector joins is held against it.

use std::collections::BTreeMap;

use xdpwatch_core::aggregate::Aggregate;
use xdpwatch_core::detect::Limits;
use xdpwatch_core::finding::{Endpoint, Finding};
use xdpwatch_core::legs::Leg;
use xdpwatch_core::watch::{Config, Watch};
use xdpwatch_prog::record::{Record, flags};

pub const BEGIN_US: u64 = 1_700_000_000_000_000;
const SEEDS: [u64; 4] = [1, 2, 3, 4];

/// Random numbers that are the same each time (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    /// Exponentially distributed, microseconds.
    pub fn wait_us(&mut self, mean_us: f64) -> u64 {
        let unit = (self.roll() >> 11) as f64 / (1u64 << 53) as f64;
        (-mean_us * (1.0 - unit).ln()) as u64
    }

    pub fn client_port(&mut self) -> u16 {
        32_768 + self.below(28_232) as u16
    }
}

pub fn end(last: u32, port: u16) -> Endpoint {
    let mut addr = [0; 16];
    addr[10..12].copy_from_slice(&[0xff, 0xff]);
    addr[12..].copy_from_slice(&(0x0a00_0000 | last).to_be_bytes());
    Endpoint { addr, port }
}

fn config() -> Config {
    Config {
        max_tuples: 1 << 17,
        horizon_ns: 60_000_000_000,
        vlan_key: false,
        all_reuse: false,
        carries_data: true,
        seeds: SEEDS,
        hosts: Default::default(),
    }
}

/// Traffic under construction, and which leg's request each server's connection is for.
#[derive(Default)]
pub struct Traffic {
    records: Vec<Record>,
    truth: BTreeMap<(Leg, u64), Leg>,
    /// Connections for which there is no request: they must stay alone.
    alone: BTreeMap<(Leg, u64), ()>,
}

impl Traffic {
    fn send(
        &mut self,
        at_us: u64,
        from: Endpoint,
        to: Endpoint,
        flag_bits: u8,
        seq: u32,
        ack: u32,
    ) {
        self.records.push(Record {
            at_ns: at_us * 1000,
            src_addr: from.addr,
            dst_addr: to.addr,
            src_port: from.port,
            dst_port: to.port,
            seq,
            ack,
            flags: flag_bits,
            window: 500,
            ..Record::default()
        });
    }

    /// A whole connection without timestamps that its server closes; returns when its handshake ends.
    pub fn connection(&mut self, leg: Leg, isn: u32, at_us: u64, rtt_us: u64, life_us: u64) -> u64 {
        let Leg { client, server } = leg;
        let (mine, theirs) = (isn.wrapping_add(1), isn.wrapping_mul(3).wrapping_add(2));
        let open_us = at_us + rtt_us;
        let close_us = open_us + life_us;
        self.send(at_us, client, server, flags::SYN, isn, 0);
        self.send(open_us - 1, server, client, flags::SYN | flags::ACK, theirs - 1, mine);
        self.send(open_us, client, server, flags::ACK, mine, theirs);
        self.send(close_us, server, client, flags::FIN | flags::ACK, theirs, mine);
        self.send(close_us + rtt_us, client, server, flags::FIN | flags::ACK, mine, theirs + 1);
        self.send(close_us + rtt_us + 1, server, client, flags::ACK, theirs + 1, mine + 1);
        open_us
    }

    /// A connection that a balancer opened for `front`.
    pub fn joined(&mut self, front: Leg, back: Leg, isn: u32, at_us: u64, life_us: u64) {
        self.truth.insert((back, at_us), front);
        self.connection(back, isn, at_us, 200, life_us);
    }

    /// A connection that no other one caused.
    pub fn lonely(&mut self, leg: Leg, isn: u32, at_us: u64, rtt_us: u64) -> u64 {
        self.alone.insert((leg, at_us), ());
        self.connection(leg, isn, at_us, rtt_us, 5_000)
    }

    /// A SYN that no other one caused and that a closed port refuses.
    pub fn refused(&mut self, leg: Leg, isn: u32, at_us: u64) {
        self.alone.insert((leg, at_us), ());
        self.send(at_us, leg.client, leg.server, flags::SYN, isn, 0);
        self.send(at_us + 50, leg.server, leg.client, flags::RST | flags::ACK, 0, isn + 1);
    }

    /// The two legs of a connection that the server closes and the client does not.
    pub fn half_closed(&mut self, front: Leg, back: Leg, isn: u32, at_us: u64) {
        let (mine, theirs) = (isn.wrapping_add(1), isn.wrapping_mul(3).wrapping_add(2));
        for (leg, after_us) in [(front, 0), (back, 20)] {
            let (Leg { client, server }, at_us) = (leg, at_us + after_us);
            self.send(at_us, client, server, flags::SYN, isn, 0);
            self.send(at_us + 100, server, client, flags::SYN | flags::ACK, theirs - 1, mine);
            self.send(at_us + 200, client, server, flags::ACK, mine, theirs);
            self.send(at_us + 300, server, client, flags::FIN | flags::ACK, theirs, mine);
            self.send(at_us + 400, client, server, flags::ACK, mine, theirs + 1);
        }
    }

    /// What is found of it until its end.
    pub fn findings(mut self, end_us: u64) -> Vec<Finding> {
        self.records.sort_by_key(|record| record.at_ns);
        let mut watch = Watch::new(config());
        let mut aggregate = Aggregate::new(&Limits::default(), SEEDS);
        let (mut out, mut findings) = (Vec::new(), Vec::new());
        for record in &self.records {
            watch.observe(core::slice::from_ref(record), &mut out);
            out.drain(..)
                .for_each(|output| aggregate.handle(&output, &mut |one| findings.push(one)));
        }
        watch.finish(end_us * 1000, &mut out);
        out.drain(..).for_each(|output| aggregate.handle(&output, &mut |one| findings.push(one)));
        aggregate.finish(end_us * 1000, &mut |one| findings.push(one));
        findings
    }

    /// Shows it to the detector.
    pub fn judge(self, name: &str) -> Score {
        self.judge_given(name, &Limits::default())
    }

    /// Shows it to the detector that is told of the balancers.
    pub fn judge_given(mut self, name: &str, limits: &Limits) -> Score {
        self.records.sort_by_key(|record| record.at_ns);
        let mut watch = Watch::new(config());
        let mut aggregate = Aggregate::new(limits, SEEDS);
        let mut out = Vec::new();
        let mut score = Score::default();
        for record in &self.records {
            watch.observe(core::slice::from_ref(record), &mut out);
            out.drain(..).for_each(|output| aggregate.handle(&output, &mut |_| {}));
            if !record.is_pure_syn() {
                continue;
            }
            let leg = Leg {
                client: Endpoint { addr: record.src_addr, port: record.src_port },
                server: Endpoint { addr: record.dst_addr, port: record.dst_port },
            };
            let key = (leg, record.at_ns / 1000);
            let claimed = aggregate.legs().other_of(&leg).map(|found| found.leg);
            let is_lonely = self.alone.contains_key(&key);
            match (claimed, self.truth.get(&key)) {
                (Some(claimed), Some(truth)) if claimed == *truth => score.right += 1,
                (Some(_), Some(_)) => score.wrong += 1,
                (Some(_), None) if is_lonely => score.wrong += 1,
                (None, Some(_)) => score.missed += 1,
                _ => {}
            }
        }
        println!("{name}: {score}");
        score
    }
}

/// How the joins claimed at each balancer's SYN compare with the truth.
#[derive(Debug, Default)]
pub struct Score {
    pub right: u64,
    pub wrong: u64,
    pub missed: u64,
}

impl Score {
    pub fn precision(&self) -> f64 {
        self.right as f64 / (self.right + self.wrong).max(1) as f64
    }

    pub fn recall(&self) -> f64 {
        self.right as f64 / (self.right + self.wrong + self.missed).max(1) as f64
    }
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { right, wrong, missed } = self;
        let (precision, recall) = (100.0 * self.precision(), 100.0 * self.recall());
        write!(f, "{right} right, {wrong} wrong, {missed} not joined: ")?;
        write!(f, "precision {precision:.2} %, recall {recall:.2} %")
    }
}
