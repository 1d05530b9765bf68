//! The field cases as whole systems: each runs badly as the note tells, then the advised setting is
//! applied, and it runs well. What the kernels, the sockets and HAProxy did is required here, so that
//! a case is known to play what it claims whatever a sensor says of it.

mod client_ports;
mod fin_unacknowledged;
mod half_closed;
mod listener_gap;
mod mixed_clocks;
mod port_pressure;
mod quiet;
mod reload;
mod short_connections;

use std::time::Duration;

use super::network::{Host, Middle, Network, Topology};
use super::sys::now_ns;

/// How long a case takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// At most 40 s.
    Short,
    /// The note's own numbers.
    Note,
}

/// A case.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is wrong in it and what cures it.
    pub about: &'static str,
    /// What it runs in.
    pub topology: Topology,
    /// Limits for the sensor that fit its short times.
    pub sensor: &'static [&'static str],
    /// Plays it in a network of its topology.
    pub play: fn(&Network, Pace) -> anyhow::Result<Played>,
}

/// What happened in a case.
#[derive(Clone, Debug, Default)]
pub struct Played {
    /// When the advised setting had been applied, nanoseconds since the Unix epoch; 0 if nothing
    /// was wrong from the start.
    pub cured_ns: u64,
    /// What kernels, sockets and HAProxy did, a sentence each.
    pub did: Vec<String>,
}

impl Played {
    fn say(&mut self, sentence: String) {
        self.did.push(sentence);
    }

    fn cured(&mut self) {
        self.cured_ns = now_ns();
    }
}

/// All of them.
pub const CASES: [Case; 9] = [
    short_connections::CASE,
    port_pressure::CASE,
    client_ports::CASE,
    mixed_clocks::CASE,
    half_closed::CASE,
    reload::CASE,
    listener_gap::CASE,
    fin_unacknowledged::CASE,
    quiet::CASE,
];

const CLIENT: &str = "client";
const PROXY: &str = "proxy";
const SERVER: &str = "server";
const CLIENT_ADDRESS: [u8; 4] = [10, 83, 0, 11];
const PROXY_ADDRESS: [u8; 4] = [10, 83, 0, 20];
const SERVER_ADDRESS: [u8; 4] = [10, 83, 0, 30];

/// Where HAProxy listens, and where its server does.
const FRONT: ([u8; 4], u16) = (PROXY_ADDRESS, 8083);
const BACK: ([u8; 4], u16) = (SERVER_ADDRESS, 8080);

/// A client, HAProxy and a server on one switch.
const WEB: Topology = Topology {
    hosts: &[
        Host { name: CLIENT, addresses: &[CLIENT_ADDRESS] },
        Host { name: PROXY, addresses: &[PROXY_ADDRESS] },
        Host { name: SERVER, addresses: &[SERVER_ADDRESS] },
    ],
    middle: Middle::Switch,
};

/// HAProxy's configuration between `FRONT` and `BACK`, with these lines in its defaults and in its
/// frontend.
fn configuration(mode: &str, defaults: &str, frontend: &str) -> String {
    let address =
        |(address, port): ([u8; 4], u16)| format!("{}:{port}", std::net::Ipv4Addr::from(address));
    format!(
        "defaults\n  mode {mode}\n  timeout connect 2s\n  timeout client 60s\n  timeout server 60s\n\
         {defaults}\nfrontend front\n  bind {}\n{frontend}\n  default_backend back\n\
         backend back\n  server one {}\n",
        address(FRONT),
        address(BACK)
    )
}

/// Between things that must not overlap on the wire.
const PAUSE: Duration = Duration::from_millis(300);
