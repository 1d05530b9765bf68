//! Field case 2: a client without timestamps sends 2000 short connections a second through a
//! balancer that has one source address for them, and the server closes first. It holds each tuple
//! for a minute, so the ports run out, and what comes then meets TIME-WAIT with nothing but a
//! sequence number. Cured by more source addresses.

use std::sync::PoisonError;
use std::thread::sleep;
use std::time::Duration;

use anyhow::ensure;

use super::{CLIENT, Case, PAUSE, Pace, Played, SERVER};
use crate::lab::balancer::{Balancer, Ports, Settings};
use crate::lab::hosts::{self, State};
use crate::lab::load::{self, Load, Service};
use crate::lab::network::{Host, Middle, Network, Topology};

pub const CASE: Case = Case {
    name: "port-pressure",
    about: "2000 connections/s without timestamps behind one address; cured by a pool of them",
    topology: Topology {
        hosts: &[
            Host { name: CLIENT, addresses: &CLIENT_ADDRESSES },
            Host { name: SERVER, addresses: &[SERVER_ADDRESS] },
        ],
        middle: Middle::Balancer,
    },
    sensor: &[],
    play,
};

const CLIENT_ADDRESSES: [[u8; 4]; 8] = {
    let mut addresses = [[10, 82, 1, 0]; 8];
    let mut n = 0;
    while n < 8 {
        addresses[n][3] = 11 + n as u8;
        n += 1;
    }
    addresses
};
const SERVER_ADDRESS: [u8; 4] = [10, 82, 3, 30];
const VIP: [u8; 4] = [10, 82, 2, 50];
const PORT: u16 = 8080;
const RATE: u32 = 2000;

/// On a busy machine a FIN is repeated now and then, and one that comes after its client has gone gets
/// a RST too.
const STRAY: i64 = 10;

/// The source-NAT address that is not enough.
const SOURCE_NAT: [u8; 4] = [10, 82, 2, 200];

fn play(network: &Network, pace: Pace) -> anyhow::Result<Played> {
    let mut played = Played::default();
    // Seconds until each port has been used once; the short range is Windows's, which a watcher knows
    // by its ports: of an odd one it would have to be told to speak in time.
    let (range, seconds) = match pace {
        Pace::Short => (49_152..=65_535, 8),
        Pace::Note => (1_024..=61_023, 30),
    };
    for (host, name, value) in [
        (CLIENT, "tcp_timestamps", "0"),
        (CLIENT, "ip_local_port_range", "1024 65535"),
        (SERVER, "tcp_max_tw_buckets", "262144"),
    ] {
        hosts::set_sysctl(network, host, name, value)?;
    }
    let settings = Settings {
        vip: VIP,
        server: SERVER_ADDRESS,
        pool: vec![SOURCE_NAT],
        ports: Ports::Chosen(range),
        clocks: Vec::new(),
        record: false,
    };
    let balancer = Balancer::start(network, &settings)?;
    let at = (SERVER_ADDRESS, PORT);
    let _server = Service::start(network, SERVER, at, 8, load::answer_and_close)?;
    let load = |from: usize, seconds| Load {
        host: CLIENT,
        from: &CLIENT_ADDRESSES[..from],
        to: (VIP, PORT),
        rate: RATE,
        lasting: Duration::from_secs(seconds),
        exchange: load::ask_and_wait,
    };

    let before = refusals(network)?;
    let tally = load(1, seconds).run(network)?;
    let none = refusals(network)? - before;
    let held = hosts::sockets(network, SERVER, State::TimeWait)?;
    played.say(format!(
        "the first {seconds} s: {} connections, {} failed, {none} refused; the server holds {held} \
         TIME-WAITs",
        tally.done,
        tally.failures()
    ));
    ensure!(none < STRAY && tally.failures() == 0, "refused before the ports ran out: {played:?}");
    ensure!(held as u64 > seconds * 1800, "the rate was not reached: {played:?}");

    let tally = load(1, 4).run(network)?;
    let refused = refusals(network)? - before;
    played.say(format!(
        "then 4 s: {} connections, {} of them slow, {} failed, {refused} SYNs refused by TIME-WAIT",
        tally.done,
        tally.slow,
        tally.failures()
    ));
    ensure!(refused > 1000, "the ports did not run out: {played:?}");

    // New ones: what the server holds of the first lasts for another minute.
    let pool = (1..=8).map(|n| [10, 82, 2, 200 + n]).collect();
    *balancer.behaviour.pool.lock().unwrap_or_else(PoisonError::into_inner) = pool;
    sleep(PAUSE);
    played.cured();
    let before = refusals(network)?;
    let tally = load(8, 8).run(network)?;
    let refused = refusals(network)? - before;
    played.say(format!(
        "8 addresses, 8 s: {} connections, {} failed, {refused} refused",
        tally.done,
        tally.failures(),
    ));
    ensure!(refused < STRAY && tally.failures() == 0, "the pool is no cure: {played:?}");
    Ok(played)
}

/// RSTs that the client's kernel sent: its answer to an ACK that has nothing to do with its SYN.
fn refusals(network: &Network) -> anyhow::Result<i64> {
    Ok(hosts::counters(network, CLIENT)?["OutRsts"])
}
