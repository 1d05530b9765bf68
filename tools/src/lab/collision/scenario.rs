//! The scenarios: which connections are made, what their kernels then did, and the numbers that
//! decided, read from the balancer's own record of every frame.

use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use xdpwatch_prog::record::{Record, flags};

use super::client::{Client, connect, talk};
use super::{Lab, SERVER, SERVER_HOST, SOURCE_NAT};
use crate::lab::balancer::Seen;
use crate::lab::hosts::{self, Counters, State};

/// What is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Another client reuses the tuple with a newer timestamp: the server takes it.
    Harmless,
    /// Field case 5: the other client's timestamp is older, and the balancer loses the answers.
    Paws,
    /// The same, but answers and RSTs pass: it heals by itself.
    PawsHeals,
    /// No timestamps, and the new sequence number is behind.
    Sequence,
    /// The server closed, the first client did not: FIN-WAIT-2 without a process.
    FinWait2,
    /// The first client's connection is still established.
    InUse,
}

/// All of them with their names.
pub const SCENARIOS: [(&str, Scenario); 6] = [
    ("harmless", Scenario::Harmless),
    ("paws", Scenario::Paws),
    ("paws-heals", Scenario::PawsHeals),
    ("sequence", Scenario::Sequence),
    ("fin-wait2", Scenario::FinWait2),
    ("in-use", Scenario::InUse),
];

impl Scenario {
    /// What it is, in a line.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::Harmless => "a second client reuses the tuple with a newer timestamp: accepted",
            Self::Paws => "field case 5: its timestamp is older, and the answers are lost",
            Self::PawsHeals => "the same, but answers and RSTs pass: it heals",
            Self::Sequence => "no timestamps, and the new sequence number is behind",
            Self::FinWait2 => "the server closed, the first client did not",
            Self::InUse => "the first client's connection is still established",
        }
    }
}

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// From the last data to the server's close.
    pub idle: Duration,
    /// From the server's FIN to the client's.
    pub client_closes_after: Duration,
    /// From there to the second client's SYN.
    pub reuse_after: Duration,
    /// How long the second client waits for its connection.
    pub patience: Duration,
}

impl Timing {
    /// Short enough for a test.
    pub const SHORT: Self = Self {
        idle: Duration::from_millis(200),
        client_closes_after: Duration::from_millis(50),
        reuse_after: Duration::from_millis(500),
        patience: Duration::from_secs(4),
    };

    /// The published note's own.
    pub const NOTE: Self = Self {
        idle: Duration::from_secs(30),
        client_closes_after: Duration::from_millis(21_450),
        reuse_after: Duration::from_millis(9_290),
        patience: Duration::from_secs(60),
    };
}

/// What the kernels did.
#[derive(Debug)]
pub struct Played {
    /// The source port that both clients used.
    pub port: u16,
    /// When the second client's first SYN went to the server, nanoseconds since the Unix epoch.
    pub syn_ns: u64,
    /// Whether the second client was connected.
    pub connected: bool,
    /// How long its connect took.
    pub took: Duration,
    /// New ISN minus what the server expected next.
    pub isn_delta: i32,
    /// New TSval minus the last one the server had accepted, if both had one.
    pub ts_delta: Option<i32>,
    /// SYNs of the second client that reached the server.
    pub syns: usize,
    /// Bare ACKs with the old connection's numbers that the server sent.
    pub challenge_acks: usize,
    /// The server's SYN/ACK counted from its old SND.NXT, if it sent one.
    pub syn_ack_ahead: Option<u32>,
    /// Counters of the server's kernel that moved, by `nstat`'s names.
    pub counters: Counters,
    /// The server's sockets in TIME-WAIT at the second SYN.
    pub time_waits: usize,
}

/// A client's SYN as the balancer saw it.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    isn: u32,
    ts_val: Option<u32>,
}

impl Lab {
    /// Plays a scenario and says what the kernels did.
    ///
    /// # Errors
    /// What failed, or which number is not what the scenario needs.
    pub fn play(&self, scenario: Scenario, timing: Timing) -> anyhow::Result<Played> {
        let timestamps = if scenario == Scenario::Sequence { "0" } else { "1" };
        for client in [Client::One, Client::Two] {
            hosts::set_sysctl(&self.network, client.name(), "tcp_timestamps", timestamps)?;
        }
        let port = self.find_port(scenario, timing)?;
        let behaviour = &self.balancer.behaviour;
        behaviour.drop_challenge_acks.store(scenario == Scenario::Paws, Ordering::Relaxed);
        let (before, held) = self.first_connection(scenario, timing, port)?;
        sleep(timing.reuse_after);
        let counters = hosts::counters(&self.network, SERVER_HOST)?;
        let time_waits = hosts::sockets(&self.network, SERVER_HOST, State::TimeWait)?;
        let begin = self.balancer.seen().len();
        let connected = connect(&self.network, Client::Two, port, timing.patience)?;
        sleep(Duration::from_millis(100));
        drop(held);
        let after = self.balancer.seen().split_off(begin);
        let moved = hosts::moved(&counters, &hosts::counters(&self.network, SERVER_HOST)?);
        let played = Played {
            port,
            connected: connected.result.is_ok(),
            took: connected.took,
            counters: moved,
            time_waits,
            ..measure(&before, &after, port)?
        };
        check(scenario, &played)?;
        Ok(played)
    }

    /// The connection whose tuple will be reused. Returns its frames, and sockets to keep open.
    fn first_connection(
        &self,
        scenario: Scenario,
        timing: Timing,
        port: u16,
    ) -> anyhow::Result<(Vec<Seen>, Vec<std::net::TcpStream>)> {
        let begin = self.balancer.seen().len();
        let first = connect(&self.network, Client::One, port, Duration::from_secs(5))?;
        let mut client = first.result.context("the first client's connect")?;
        let mut server = accept(&self.listener, port)?;
        talk(&mut client, &mut server)?;
        sleep(timing.idle);
        let held = match scenario {
            Scenario::InUse => vec![client, server],
            Scenario::FinWait2 => {
                drop(server);
                vec![client]
            }
            _ => {
                drop(server);
                sleep(timing.client_closes_after);
                drop(client);
                Vec::new()
            }
        };
        sleep(Duration::from_millis(50));
        Ok((self.balancer.seen().split_off(begin), held))
    }

    /// A source port on which both clients' numbers have the signs that the scenario needs.
    ///
    /// Linux hides clocks and ISNs behind a hash of the tuple, so ports are tried: the balancer lets
    /// no SYN pass, and has seen their numbers. It refuses none: a service that does has a gap.
    fn find_port(&self, scenario: Scenario, timing: Timing) -> anyhow::Result<u16> {
        self.balancer.behaviour.probing.store(true, Ordering::Relaxed);
        let found = (0..400).find_map(|_| {
            let port = self.next_port();
            let one = self.probe(Client::One, port);
            let two = self.probe(Client::Two, port);
            match (one, two) {
                (Ok(one), Ok(two)) => suits(scenario, timing, one, two).then_some(Ok(port)),
                (Err(error), _) | (_, Err(error)) => Some(Err(error)),
            }
        });
        self.balancer.behaviour.probing.store(false, Ordering::Relaxed);
        found.context("no source port has the numbers that the scenario needs")?
    }

    fn probe(&self, client: Client, port: u16) -> anyhow::Result<Numbers> {
        let begin = self.balancer.seen().len();
        let connected = connect(&self.network, client, port, PROBE_PATIENCE)?;
        ensure!(connected.result.is_err(), "the probe was connected");
        let syn_among = |seen: &[Seen]| {
            let is_syn = |record: &&Record| record.is_pure_syn() && record.src_port == port;
            seen.iter().map(|seen| &seen.record).find(is_syn).copied()
        };
        // The client does not wait for the balancer's thread.
        let syn = (0..100)
            .find_map(|_| {
                let syn = syn_among(&self.balancer.seen()[begin..]);
                if syn.is_none() {
                    sleep(PROBE_PATIENCE);
                }
                syn
            })
            .context("the probe's SYN did not come")?;
        Ok(Numbers { isn: syn.seq, ts_val: syn.timestamp() })
    }
}

/// Shorter than any retransmission time-out: a probe's SYN goes out once.
const PROBE_PATIENCE: Duration = Duration::from_millis(20);

/// Room that the signs must have, so that waiting does not turn them.
const ISN_ROOM: i64 = 200_000_000;
const TS_ROOM: i64 = 300_000;

fn suits(scenario: Scenario, timing: Timing, one: Numbers, two: Numbers) -> bool {
    let between = timing.idle + timing.client_closes_after + timing.reuse_after;
    // Linux counts ISNs up by one every 64 ns (secure_seq.c).
    let line = i64::try_from(between.as_nanos() / 64).unwrap_or(0);
    let isn = i64::from((i64::from(two.isn) - i64::from(one.isn) + line) as i32);
    let ts = one.ts_val.zip(two.ts_val).map(|(a, b)| i64::from(b.wrapping_sub(a).cast_signed()));
    match scenario {
        Scenario::Harmless => ts.is_some_and(|ts| ts > TS_ROOM),
        Scenario::Paws | Scenario::PawsHeals => {
            ts.is_some_and(|ts| ts < -TS_ROOM) && isn > ISN_ROOM
        }
        Scenario::Sequence => ts.is_none() && isn < -ISN_ROOM,
        // Out of the window, so that the answer is the old ACK.
        Scenario::FinWait2 => isn.abs() > ISN_ROOM,
        Scenario::InUse => true,
    }
}

fn accept(listener: &TcpListener, port: u16) -> anyhow::Result<std::net::TcpStream> {
    for _ in 0..100 {
        let (socket, from) = listener.accept()?;
        if from.port() == port {
            return Ok(socket);
        }
    }
    bail!("the server accepts other connections only")
}

fn mapped(address: [u8; 4]) -> [u8; 16] {
    std::net::Ipv4Addr::from(address).to_ipv6_mapped().octets()
}

/// Reads from the frames on the server's side what decided.
fn measure(before: &[Seen], after: &[Seen], port: u16) -> anyhow::Result<Played> {
    let (nat, server) = (mapped(SOURCE_NAT), mapped(SERVER));
    let to_server = |seen: &&Seen| seen.record.src_addr == nat && seen.record.src_port == port;
    let from_server = |seen: &&Seen| seen.record.src_addr == server && seen.record.dst_port == port;
    let old: Vec<&Record> = before.iter().filter(to_server).map(|seen| &seen.record).collect();
    let last = old.last().context("no first connection on the server's side")?;
    let expected = last.seq.wrapping_add(last.sequence_len());
    let old_next = before
        .iter()
        .filter(from_server)
        .map(|seen| seen.record.seq.wrapping_add(seen.record.sequence_len()))
        .next_back()
        .context("the server was silent")?;
    let syns: Vec<&Seen> =
        after.iter().filter(to_server).filter(|seen| seen.record.is_pure_syn()).collect();
    let syn = syns.first().context("the second client's SYN did not come")?;
    let answers: Vec<&Record> = after.iter().filter(from_server).map(|seen| &seen.record).collect();
    let is_challenge = |record: &&&Record| {
        let bare = record.flags & (flags::SYN | flags::FIN | flags::RST) == 0;
        bare && record.payload_len == 0 && record.ack == expected
    };
    let syn_ack = answers.iter().find(|record| record.has_flags(flags::SYN | flags::ACK));
    let stamps = syn.record.timestamp().zip(last.timestamp());
    Ok(Played {
        port,
        syn_ns: syn.at_ns,
        connected: false,
        took: Duration::ZERO,
        isn_delta: syn.record.seq.wrapping_sub(expected).cast_signed(),
        ts_delta: stamps.map(|(new, old)| new.wrapping_sub(old).cast_signed()),
        syns: syns.len(),
        challenge_acks: answers.iter().filter(is_challenge).count(),
        syn_ack_ahead: syn_ack.map(|record| record.seq.wrapping_sub(old_next)),
        counters: Counters::new(),
        time_waits: 0,
    })
}

/// Requires that the kernels did what makes the scenario the scenario.
fn check(scenario: Scenario, played: &Played) -> anyhow::Result<()> {
    let Played { isn_delta, ts_delta, syn_ack_ahead, challenge_acks, connected, .. } = played;
    let moved = |name: &str| played.counters.contains_key(name);
    let as_meant = match scenario {
        Scenario::Harmless => *ts_delta > Some(0) && *syn_ack_ahead == Some(65_537) && *connected,
        Scenario::Paws => {
            let kernel = moved("PAWSTimewait") || moved("PAWSEstab");
            *ts_delta < Some(0) && ts_delta.is_some() && *isn_delta > 0 && !connected && kernel
        }
        Scenario::PawsHeals => {
            *ts_delta < Some(0) && ts_delta.is_some() && *challenge_acks > 0 && *connected
        }
        Scenario::Sequence => {
            ts_delta.is_none() && *isn_delta < 0 && *challenge_acks > 0 && *connected
        }
        Scenario::FinWait2 | Scenario::InUse => *challenge_acks > 0 && *connected,
    };
    ensure!(as_meant, "the kernels did not do what {scenario:?} is about: {played:#?}");
    Ok(())
}
