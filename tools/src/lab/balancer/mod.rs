//! A layer-4 balancer as F5's FastL4 and A10's layer-4 virtual ports are: it rewrites addresses, at
//! choice ports and clocks, keeps sequence numbers, and knows no states of connections.
//!
//! The kernel's own NAT would not do: it avoids tuples that are in use.

mod forwarder;
mod nat;
mod rewrite;

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::Context;
use xdpwatch_prog::record::Record;

use self::forwarder::Forwarder;
use super::network::{MIDDLE, Network};
use super::sys::PacketSocket;

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
    /// Clients' SYNs go no further and get no answer, to learn their numbers.
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
        let (told, kept) = (Arc::clone(&behaviour), Arc::clone(&seen));
        let mut forwarder = Forwarder::new(settings.clone(), sockets, hosts, told, kept);
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
