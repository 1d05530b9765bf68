//! Field case 3: the client closes first, so it holds every TIME-WAIT itself, for a minute, and runs
//! out of ports. `tcp_tw_reuse` does nothing for it, because no timestamps are negotiated. Cured by
//! more addresses.

use std::thread::sleep;
use std::time::Duration;

use anyhow::ensure;

use super::{BACK, CLIENT, Case, PAUSE, Pace, Played, SERVER, SERVER_ADDRESS};
use crate::lab::hosts::{self, State};
use crate::lab::load::{self, Load, Service};
use crate::lab::network::{Host, Middle, Network, Topology};

pub const CASE: Case = Case {
    name: "client-ports",
    about: "the client closes first and its TIME-WAITs fill its ports; cured by more addresses",
    topology: Topology {
        hosts: &[
            Host { name: CLIENT, addresses: &CLIENT_ADDRESSES },
            Host { name: SERVER, addresses: &[SERVER_ADDRESS] },
        ],
        middle: Middle::Switch,
    },
    // The wire does not show that a client has fewer ports than others.
    sensor: &["--port-range", "10.83.0.0/24=40000-40999"],
    play,
};

/// Enough for 200 connections a second that hold a port for a minute each: 632 of 1000 at nineteen, while
/// the first recovers.
const CLIENT_ADDRESSES: [[u8; 4]; 20] = {
    let mut addresses = [[10, 83, 0, 0]; 20];
    let mut n = 0;
    while n < 20 {
        addresses[n][3] = 101 + n as u8;
        n += 1;
    }
    addresses
};

/// A thousand ports.
const NARROW: &str = "40000 40999";

fn play(network: &Network, pace: Pace) -> anyhow::Result<Played> {
    let mut played = Played::default();
    for (host, name, value) in [
        (CLIENT, "ip_local_port_range", NARROW),
        (CLIENT, "tcp_tw_reuse", "1"),
        (SERVER, "tcp_timestamps", "0"),
    ] {
        hosts::set_sysctl(network, host, name, value)?;
    }
    let _server = Service::start(network, SERVER, BACK, 8, load::answer_and_wait)?;
    let load = Load {
        host: CLIENT,
        from: &[],
        to: BACK,
        rate: 200,
        lasting: Duration::from_secs(if pace == Pace::Short { 7 } else { 50 }),
        exchange: load::ask_and_close,
    };

    let tally = load.run(network)?;
    let none_left = tally.failed.get("connect: AddrNotAvailable").copied().unwrap_or(0);
    let held = hosts::sockets(network, CLIENT, State::TimeWait)?;
    played.say(format!(
        "1000 ports: {} connections, then {none_left} without a port; the client holds {held} \
         TIME-WAITs",
        tally.done
    ));
    ensure!(none_left > 0 && tally.failures() == none_left, "the ports did not run out: {tally:?}");
    ensure!(held >= 990, "the client did not close first: {played:?}");

    sleep(PAUSE);
    played.cured();
    // The first one's ports are gone for a minute.
    let tally = Load { from: &CLIENT_ADDRESSES[1..], ..load }.run(network)?;
    played.say(format!("19 addresses: {} connections, {} failed", tally.done, tally.failures()));
    ensure!(tally.failures() == 0, "more addresses are no cure: {tally:?}");
    Ok(played)
}
