//! The balancer's thread: a frame in by one port, changed, out by another.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use xdpwatch_prog::record::{Record, flags};
use xdpwatch_prog::wire::{Link, parse};

use super::nat::{Mapping, Nat, Outer};
use super::rewrite::{Change, rewrite};
use super::{Behaviour, Seen, Settings};
use crate::lab::network::Host;
use crate::lab::sys::{self, PacketSocket, now_ns};

/// What the balancer's thread works with.
pub struct Forwarder {
    settings: Settings,
    sockets: Vec<PacketSocket>,
    macs: Vec<[u8; 6]>,
    behaviour: Arc<Behaviour>,
    seen: Arc<Mutex<Vec<Seen>>>,
    nat: Nat,
    /// Outer tuples whose last SYN the server has not yet answered with SYN/ACK, and its ISN.
    pending: HashMap<Outer, u32>,
}

impl Forwarder {
    /// One that knows no client yet; the last host is the server.
    pub fn new(
        settings: Settings,
        sockets: Vec<PacketSocket>,
        hosts: &[Host],
        behaviour: Arc<Behaviour>,
        seen: Arc<Mutex<Vec<Seen>>>,
    ) -> Self {
        Self {
            nat: Nat::new(settings.ports.clone()),
            settings,
            sockets,
            macs: hosts.iter().map(Host::mac).collect(),
            behaviour,
            seen,
            pending: HashMap::new(),
        }
    }

    /// Forwards what is there; waits a little if nothing is.
    ///
    /// # Errors
    /// Those of the packet sockets.
    pub fn turn(&mut self) -> std::io::Result<()> {
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
        let passed = if from == to_server { self.back(&record) } else { self.there(from, &record) };
        let Some((to, change)) = passed else { return Ok(()) };
        rewrite(frame, &change);
        if self.settings.record
            && let Ok(parsed) = parse(&*frame, len, now_ns(), Link::Ethernet)
        {
            self.note(frame, &parsed.record);
        }
        self.sockets[to].send(frame)
    }

    /// Where a client's segment goes, and as what.
    fn there(&mut self, from: usize, record: &Record) -> Option<(usize, Change)> {
        let client = Mapping { port: from, address: ipv4(&record.src_addr), tcp: record.src_port };
        if record.is_pure_syn() {
            if self.behaviour.probing.load(Ordering::Relaxed) {
                return None;
            }
            let outer = self.nat.open(client, record.seq, &self.behaviour);
            self.pending.insert(outer, record.seq);
        }
        let outer = self.nat.outer(client)?;
        let to = self.sockets.len() - 1;
        let change = Change {
            src: outer,
            dst: (self.settings.server, record.dst_port),
            dst_mac: self.macs[to],
            ts_val: self.clock(from),
            ts_ecr: 0,
        };
        Some((to, change))
    }

    /// Where a segment of the server goes, and as what.
    fn back(&mut self, record: &Record) -> Option<(usize, Change)> {
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
    fn is_challenge(&mut self, outer: Outer, record: &Record) -> bool {
        if record.has_flags(flags::SYN | flags::ACK) {
            self.pending.remove(&outer);
        }
        let bare =
            record.flags & (flags::SYN | flags::FIN | flags::RST) == 0 && record.payload_len == 0;
        let unrelated = |isn: &u32| record.ack != isn.wrapping_add(1);
        bare && self.pending.get(&outer).is_some_and(unrelated)
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
