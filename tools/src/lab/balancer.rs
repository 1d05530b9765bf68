//! A layer-4 balancer that keeps source ports, sequence numbers and timestamps, as F5's FastL4 does:
//! it rewrites addresses and nothing else, and keeps no state but who last sent a SYN on a port.
//!
//! The kernel's own NAT would not do: it avoids tuples that are in use.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use xdpwatch_prog::record::{Record, flags};
use xdpwatch_prog::wire::{Link, parse};

use super::network::{BALANCER_MAC, BALANCER_PORTS, HOST_MACS, Network, SERVER, SOURCE_NAT, VIP};
use super::sys::{self, PacketSocket};
use crate::frames::checksum;

/// What the balancer does beside forwarding.
#[derive(Debug, Default)]
pub struct Behaviour {
    /// Server's bare ACKs that answer a SYN do not pass, as in field case 5.
    pub drop_challenge_acks: AtomicBool,
    /// Clients' SYNs are answered with RST here and go no further, to learn their numbers.
    pub probing: AtomicBool,
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
    /// Starts it in the network's balancer namespace.
    ///
    /// # Errors
    /// Those of its packet sockets.
    pub fn start(network: &Network) -> anyhow::Result<Self> {
        let sockets = network.in_namespace("balancer", || {
            BALANCER_PORTS
                .iter()
                .map(|port| PacketSocket::open(port).with_context(|| format!("port {port}")))
                .collect::<anyhow::Result<Vec<_>>>()
        })?;
        let behaviour = Arc::new(Behaviour::default());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let mut forwarder = Forwarder {
            sockets,
            behaviour: Arc::clone(&behaviour),
            seen: Arc::clone(&seen),
            owners: HashMap::new(),
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

    /// Every frame so far, in order.
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
    sockets: Vec<PacketSocket>,
    behaviour: Arc<Behaviour>,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Which client (by balancer port) last sent a SYN on a source port.
    owners: HashMap<u16, usize>,
    /// Source ports whose last SYN the server has not yet answered with SYN/ACK.
    pending: HashMap<u16, u32>,
}

/// The balancer port to the server.
const TO_SERVER: usize = 2;

impl Forwarder {
    fn turn(&mut self) -> std::io::Result<()> {
        sys::wait(&self.sockets, Duration::from_millis(50))?;
        let mut buffer = [0; 65_536];
        for port in 0..self.sockets.len() {
            while let Some(frame) = self.sockets[port].receive(&mut buffer)? {
                let frame = frame.to_vec();
                self.forward(port, frame)?;
            }
        }
        Ok(())
    }

    fn forward(&mut self, from: usize, mut frame: Vec<u8>) -> std::io::Result<()> {
        let len = frame.len() as u32;
        let Ok(parsed) = parse(&frame, len, now_ns(), Link::Ethernet) else { return Ok(()) };
        let record = parsed.record;
        self.note(&frame, &record);
        let to = if from == TO_SERVER {
            let Some(owner) = self.owners.get(&record.dst_port).copied() else { return Ok(()) };
            if self.is_challenge(&record)
                && self.behaviour.drop_challenge_acks.load(Ordering::Relaxed)
            {
                return Ok(());
            }
            owner
        } else {
            if record.is_pure_syn() {
                self.owners.insert(record.src_port, from);
                self.pending.insert(record.src_port, record.seq);
                if self.behaviour.probing.load(Ordering::Relaxed) {
                    return self.refuse(from, &record);
                }
            }
            TO_SERVER
        };
        let (src, dst) =
            if to == TO_SERVER { (SOURCE_NAT, SERVER) } else { (VIP, super::network::CLIENTS[to]) };
        rewrite(&mut frame, src, dst, HOST_MACS[to]);
        let at_ns = now_ns();
        if let Ok(parsed) = parse(&frame, len, at_ns, Link::Ethernet) {
            self.note(&frame, &parsed.record);
        }
        self.sockets[to].send(&frame)
    }

    /// A bare ACK of the server that does not acknowledge the SYN pending on its port.
    fn is_challenge(&mut self, record: &Record) -> bool {
        let port = record.dst_port;
        if record.has_flags(flags::SYN | flags::ACK) {
            self.pending.remove(&port);
        }
        let bare =
            record.flags & (flags::SYN | flags::FIN | flags::RST) == 0 && record.payload_len == 0;
        let unrelated = |isn: &u32| record.ack != isn.wrapping_add(1);
        bare && self.pending.get(&port).is_some_and(unrelated)
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
        frame[..6].copy_from_slice(&HOST_MACS[to]);
        frame[6..12].copy_from_slice(&BALANCER_MAC);
        self.sockets[to].send(&frame)
    }

    fn note(&self, frame: &[u8], record: &Record) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push(Seen { at_ns: record.at_ns, frame: frame.to_vec(), record: *record });
    }
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// New addresses in an Ethernet/IPv4/TCP frame, both checksums made anew: the sender's kernel may
/// have left them to a network card that is not there.
fn rewrite(frame: &mut [u8], src: [u8; 4], dst: [u8; 4], dst_mac: [u8; 6]) {
    const IP: usize = 14;
    let header_len = usize::from(frame[IP] & 15) * 4;
    let total_len = usize::from(u16::from_be_bytes([frame[IP + 2], frame[IP + 3]]));
    let tcp = IP + header_len;
    let end = (IP + total_len).min(frame.len());
    frame[..6].copy_from_slice(&dst_mac);
    frame[6..12].copy_from_slice(&BALANCER_MAC);
    frame[IP + 12..IP + 16].copy_from_slice(&src);
    frame[IP + 16..IP + 20].copy_from_slice(&dst);
    frame[IP + 10..IP + 12].fill(0);
    let sum = checksum(&[&frame[IP..tcp]]);
    frame[IP + 10..IP + 12].copy_from_slice(&sum.to_be_bytes());
    frame[tcp + 16..tcp + 18].fill(0);
    let length = u32::try_from(end - tcp).unwrap_or(0).to_be_bytes();
    let sum = checksum(&[&src, &dst, &length, &[0, 6], &frame[tcp..end]]);
    frame[tcp + 16..tcp + 18].copy_from_slice(&sum.to_be_bytes());
}
