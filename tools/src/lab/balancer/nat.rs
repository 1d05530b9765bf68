//! Which outer address and port stand for which client. An outer tuple is given away again as soon
//! as its turn comes: the balancer waits for nobody's TIME-WAIT.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::{Behaviour, Ports};

/// A client's end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mapping {
    /// The balancer's port towards it.
    pub port: usize,
    /// Its address.
    pub address: [u8; 4],
    /// Its TCP port.
    pub tcp: u16,
}

/// An outer address and TCP port.
pub type Outer = ([u8; 4], u16);

/// The table, both ways.
#[derive(Debug)]
pub struct Nat {
    ports: Ports,
    opened: u64,
    outer: HashMap<Mapping, (Outer, u32)>,
    inner: HashMap<Outer, Mapping>,
}

/// From one choice to the next: prime, so that all of a range come before one returns.
const STRIDE: u64 = 7919;

impl Nat {
    /// An empty one.
    pub fn new(ports: Ports) -> Self {
        Self { ports, opened: 0, outer: HashMap::new(), inner: HashMap::new() }
    }

    /// The outer tuple for a SYN with this ISN: that of its first copy, or the next.
    pub fn open(&mut self, client: Mapping, isn: u32, behaviour: &Behaviour) -> Outer {
        if let Some((outer, known)) = self.outer.get(&client)
            && *known == isn
        {
            return *outer;
        }
        let pool = behaviour.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let own = behaviour.address_per_client.load(Ordering::Relaxed);
        let (ports, first) = match &self.ports {
            Ports::Preserved => (1, client.tcp),
            Ports::Chosen(range) => (range.len() as u64, *range.start()),
        };
        let turn = self.opened * STRIDE % (ports * pool.len() as u64);
        self.opened += 1;
        let address = if own { client.port % pool.len() } else { (turn / ports) as usize };
        let outer = (pool[address], first + (turn % ports) as u16);
        self.outer.insert(client, (outer, isn));
        self.inner.insert(outer, client);
        outer
    }

    /// The outer tuple of a client's connection.
    pub fn outer(&self, client: Mapping) -> Option<Outer> {
        self.outer.get(&client).map(|(outer, _)| *outer)
    }

    /// Who last opened a connection by this outer tuple.
    pub fn inner(&self, outer: Outer) -> Option<Mapping> {
        self.inner.get(&outer).copied()
    }
}
