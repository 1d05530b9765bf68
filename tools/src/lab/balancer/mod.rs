//! A layer-4 balancer as F5's FastL4 and A10's layer-4 virtual ports are: it rewrites addresses, at
//! choice ports and clocks, keeps sequence numbers, and knows no states of connections.
//!
//! The kernel's own NAT would not do: it avoids tuples that are in use.

mod nat;
mod rewrite;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use xdpwatch_prog::record::{Record, flags};
use xdpwatch_prog::wire::{Link, parse};

use self::nat::{Mapping, Nat};
use self::rewrite::{Change, rewrite};
use super::network::{BALANCER_MAC, MIDDLE, Network};
use super::sys::{self, PacketSocket, now_ns};

/// What the balancer is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What clients connect to.
    pub vip: [u8; 4],
    /// The server, the last host of the topology.
    pub server: [u8; 4],
    /// The source-NAT pool at the start.
    pub pool: Vec<[u8; 4]>,
    /// Which source ports the server sees.
    pub ports: Ports,
    /// What is added to each client's TSval, in the order of the topology's hosts: clients of one
    /// lab share a kernel's clock, those of the field were booted on different days.
    pub clocks: Vec<u32>,
    /// Keep every frame for [`Balancer::seen`]. Not for rates.
    pub record: bool,
}

/// The server's view of source ports.
#[derive(Clone, Debug)]
pub enum Ports {
    /// The client's own.
    Preserved,
    /// Of the balancer's choosing: each of the range once before one returns.
    Chosen(RangeInclusive<u16>),
}

/// What the balancer does beside forwarding; may change while it runs.
#[derive(Debug)]
pub struct Behaviour {
    /// Server's bare ACKs that answer a SYN do not pass, as in field case 5.
    pub drop_challenge_acks: AtomicBool,
    /// Clients' SYNs are answered with RST here and go no further, to learn their numbers.
    pub probing: AtomicBool,
    /// The source-NAT pool for new connections. It must not be empty.
    pub pool: Mutex<Vec<[u8; 4]>>,
    /// Each client has an address of the pool to itself.
    pub address_per_client: AtomicBool,
}

/// A frame as the balancer had it, received or sent.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// The whole frame.
    pub frame: Vec<u8>,
    /// Its segment.
    pub record: Record,
}

/// A running balancer; it stops when this is dropped.
#[derive(Debug)]
pub struct Balancer {
    /// Switches, to be set while it runs.
    pub behaviour: Arc<Behaviour>,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Balancer {
    /// Starts it in the middle of the network.
    ///
    /// # Errors
    /// Those of its packet sockets.
    pub fn start(network: &Network, settings: &Settings) -> anyhow::Result<Self> {
        let hosts = network.topology().hosts;
        let sockets = network.in_namespace(MIDDLE, || {
            hosts
                .iter()
                .map(|host| {
                    PacketSocket::open(host.name).with_context(|| format!("port {}", host.name))
                })
                .collect::<anyhow::Result<Vec<_>>>()
        })?;
        let behaviour = Arc::new(Behaviour {
            drop_challenge_acks: AtomicBool::new(false),
            probing: AtomicBool::new(false),
            pool: Mutex::new(settings.pool.clone()),
            address_per_client: AtomicBool::new(false),
        });
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let mut forwarder = Forwarder {
            macs: hosts.iter().map(super::network::Host::mac).collect(),
            nat: Nat::new(settings.ports.clone()),
            settings: settings.clone(),
            sockets,
            behaviour: Arc::clone(&behaviour),
            seen: Arc::clone(&seen),
            pending: HashMap::new(),
        };
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if let Err(error) = forwarder.turn() {
                    eprintln!("balancer: {error}");
                    return;
                }
            }
        });
        Ok(Self { behaviour, seen, stop, thread: Some(thread) })
    }

    /// Every frame so far, in order, if it was told to record.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Forwarder {
    settings: Settings,
    sockets: Vec<PacketSocket>,
    macs: Vec<[u8; 6]>,
    behaviour: Arc<Behaviour>,
    seen: Arc<Mutex<Vec<Seen>>>,
    nat: Nat,
    /// Outer tuples whose last SYN the server has not yet answered with SYN/ACK, and its ISN.
    pending: HashMap<([u8; 4], u16), u32>,
}

impl Forwarder {
    fn turn(&mut self) -> std::io::Result<()> {
        sys::wait(&self.sockets, Duration::from_millis(50))?;
        let mut buffer = [0; 65_536];
        for port in 0..self.sockets.len() {
            // A few at a time, so that no port waits for another to fall silent.
            for _ in 0..32 {
                let Some(frame) = self.sockets[port].receive(&mut buffer)? else { break };
                let mut frame = frame.to_vec();
                self.forward(port, &mut frame)?;
            }
        }
        Ok(())
    }

    fn forward(&mut self, from: usize, frame: &mut [u8]) -> std::io::Result<()> {
        let len = frame.len() as u32;
        let Ok(parsed) = parse(&*frame, len, now_ns(), Link::Ethernet) else { return Ok(()) };
        let record = parsed.record;
        self.note(frame, &record);
        let to_server = self.sockets.len() - 1;
        let passed = if from == to_server {
            self.to_client(&record)
        } else {
            self.to_server(from, &record)?
        };
        let Some((to, change)) = passed else { return Ok(()) };
        rewrite(frame, &change);
        if self.settings.record {
            if let Ok(parsed) = parse(&*frame, len, now_ns(), Link::Ethernet) {
                self.note(frame, &parsed.record);
            }
        }
        self.sockets[to].send(frame)
    }

    /// Where a client's segment goes, and as what.
    fn to_server(
        &mut self,
        from: usize,
        record: &Record,
    ) -> std::io::Result<Option<(usize, Change)>> {
        let client = Mapping { port: from, address: ipv4(&record.src_addr), tcp: record.src_port };
        if record.is_pure_syn() {
            if self.behaviour.probing.load(Ordering::Relaxed) {
                return self.refuse(from, record).map(|()| None);
            }
            let outer = self.nat.open(client, record.seq, &self.behaviour);
            self.pending.insert(outer, record.seq);
        }
        let Some(outer) = self.nat.outer(client) else { return Ok(None) };
        let to = self.sockets.len() - 1;
        let change = Change {
            src: outer,
            dst: (self.settings.server, record.dst_port),
            dst_mac: self.macs[to],
            ts_val: self.clock(from),
            ts_ecr: 0,
        };
        Ok(Some((to, change)))
    }

    /// Where a segment of the server goes, and as what.
    fn to_client(&mut self, record: &Record) -> Option<(usize, Change)> {
        let outer = (ipv4(&record.dst_addr), record.dst_port);
        let client = self.nat.inner(outer)?;
        if self.is_challenge(outer, record)
            && self.behaviour.drop_challenge_acks.load(Ordering::Relaxed)
        {
            return None;
        }
        let change = Change {
            src: (self.settings.vip, record.src_port),
            dst: (client.address, client.tcp),
            dst_mac: self.macs[client.port],
            ts_val: 0,
            ts_ecr: self.clock(client.port).wrapping_neg(),
        };
        Some((client.port, change))
    }

    fn clock(&self, client: usize) -> u32 {
        self.settings.clocks.get(client).copied().unwrap_or(0)
    }

    /// A bare ACK of the server that does not acknowledge the SYN pending on its tuple.
    fn is_challenge(&mut self, outer: ([u8; 4], u16), record: &Record) -> bool {
        if record.has_flags(flags::SYN | flags::ACK) {
            self.pending.remove(&outer);
        }
        let bare =
            record.flags & (flags::SYN | flags::FIN | flags::RST) == 0 && record.payload_len == 0;
        let unrelated = |isn: &u32| record.ack != isn.wrapping_add(1);
        bare && self.pending.get(&outer).is_some_and(unrelated)
    }

    /// RST to a SYN, as a closed port sends it.
    fn refuse(&self, to: usize, syn: &Record) -> std::io::Result<()> {
        let reset = Record {
            src_addr: syn.dst_addr,
            dst_addr: syn.src_addr,
            src_port: syn.dst_port,
            dst_port: syn.src_port,
            ack: syn.seq.wrapping_add(1),
            flags: flags::RST | flags::ACK,
            ttl: 64,
            ..Record::default()
        };
        let mut frame = crate::frames::ethernet(&reset);
        frame[..6].copy_from_slice(&self.macs[to]);
        frame[6..12].copy_from_slice(&BALANCER_MAC);
        self.sockets[to].send(&frame)
    }

    fn note(&self, frame: &[u8], record: &Record) {
        if self.settings.record {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push(Seen { at_ns: record.at_ns, frame: frame.to_vec(), record: *record });
        }
    }
}

/// The last four octets: the record holds IPv4 addresses mapped into IPv6.
fn ipv4(address: &[u8; 16]) -> [u8; 4] {
    [address[12], address[13], address[14], address[15]]
}
