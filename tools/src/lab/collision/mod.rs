//! Field case 5 and its kin: two clients behind a balancer that keeps source ports, and a server
//! that closes first, so that the second client meets what the first one left.
//!
//! ```text
//! client 1 10.24.18.13 --+                       +-- server 10.24.20.26:8080
//! client 2 10.24.18.14 --+-- balancer (no stack) -+
//!                            VIP 10.24.20.51:8080, source NAT 10.24.20.249
//! ```

pub mod client;
pub mod scenario;

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Context;

use super::balancer::{self, Balancer, Ports, Settings};
use super::network::{Host, Middle, Network, Topology};

/// What clients connect to.
pub const VIP: [u8; 4] = [10, 24, 20, 51];
/// What the server sees as its client.
pub const SOURCE_NAT: [u8; 4] = [10, 24, 20, 249];
/// The server.
pub const SERVER: [u8; 4] = [10, 24, 20, 26];
/// The service's port, at the VIP and at the server.
pub const PORT: u16 = 8080;

/// The server's namespace.
const SERVER_HOST: &str = "server";

/// Field case 5's addresses.
const TOPOLOGY: Topology = Topology {
    hosts: &[
        Host { name: "client1", addresses: &[[10, 24, 18, 13]] },
        Host { name: "client2", addresses: &[[10, 24, 18, 14]] },
        Host { name: SERVER_HOST, addresses: &[SERVER] },
    ],
    middle: Middle::Balancer,
};

/// Everything that runs; gone when dropped.
#[derive(Debug)]
pub struct Lab {
    // Dropped in this order: the balancer must end before its cables go.
    balancer: Balancer,
    listener: TcpListener,
    port: AtomicU16,
    /// The namespaces and cables.
    pub network: Network,
}

/// Below the ports that kernels choose by themselves.
const FIRST_PORT: u16 = 20_000;

impl Lab {
    /// Builds the network and starts balancer and server. Names begin with `prefix`.
    ///
    /// # Errors
    /// What could not be built. It takes root.
    pub fn start(prefix: &str) -> anyhow::Result<Self> {
        let network = Network::build(prefix, TOPOLOGY)?;
        let settings = Settings {
            vip: VIP,
            server: SERVER,
            pool: vec![SOURCE_NAT],
            ports: Ports::Preserved,
            clocks: Vec::new(),
            record: true,
        };
        let balancer = Balancer::start(&network, &settings)?;
        let listener = network.in_namespace(SERVER_HOST, || {
            TcpListener::bind((Ipv4Addr::from(SERVER), PORT)).context("the server's listener")
        })?;
        Ok(Self { balancer, listener, port: AtomicU16::new(FIRST_PORT), network })
    }

    /// Every frame that the balancer received or sent, in order.
    #[must_use]
    pub fn frames(&self) -> Vec<balancer::Seen> {
        self.balancer.seen()
    }

    fn next_port(&self) -> u16 {
        self.port.fetch_add(1, Ordering::Relaxed)
    }
}
