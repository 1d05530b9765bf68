//! The lab: real kernels in network namespaces, a balancer between them, a mirror port. It plays the
//! collisions that xdpwatch is for, with real sockets, and says what the kernels did.

pub mod balancer;
pub mod hosts;
pub mod network;
pub mod scenario;
mod sys;

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

use balancer::Balancer;
use network::Network;

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
        let network = Network::build(prefix)?;
        let balancer = Balancer::start(&network)?;
        let listener = hosts::listen(&network)?;
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
