//! Field case 3: a source-NAT address stands for three clients, each with a clock of its own, so
//! timestamps behind that address run backwards. The clients close first, and their ports fill up; so the
//! server is made to, and now refuses those whose clock is behind (PAWS). Cured by an address for each
//! clock.
//!
//! The clients' kernels leave timestamps without a random offset (`tcp_timestamps=2`), as before
//! Linux 4.10 and as others do; their different boots are added by the balancer.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::thread::{self, sleep};
use std::time::Duration;

use anyhow::ensure;

use super::{Case, PAUSE, Pace, Played, SERVER};
use crate::lab::balancer::{Balancer, Ports, Seen, Settings};
use crate::lab::hosts::{self, State};
use crate::lab::load::{self, Load, Service, Tally};
use crate::lab::network::{Host, Middle, Network, Topology};

pub const CASE: Case = Case {
    name: "mixed-clocks",
    about: "three clients' clocks behind one address: refused by PAWS; cured by an address for each",
    topology: Topology {
        hosts: &[
            Host { name: CLIENTS[0], addresses: &[[10, 83, 1, 11]] },
            Host { name: CLIENTS[1], addresses: &[[10, 83, 1, 12]] },
            Host { name: CLIENTS[2], addresses: &[[10, 83, 1, 13]] },
            Host { name: SERVER, addresses: &[SERVER_ADDRESS] },
        ],
        middle: Middle::Balancer,
    },
    sensor: &[],
    play,
};

const CLIENTS: [&str; 3] = ["client1", "client2", "client3"];
const SERVER_ADDRESS: [u8; 4] = [10, 83, 3, 30];
const VIP: [u8; 4] = [10, 83, 2, 50];
const PORT: u16 = 8080;
const SOURCE_NAT: [u8; 4] = [10, 83, 2, 200];

/// The balancer's source ports: few, so that each comes back within the TIME-WAIT it left.
const PORTS: std::ops::RangeInclusive<u16> = 20_000..=20_599;

/// Milliseconds that each client has been up for longer than the first: 4 days, 9 hours.
const CLOCKS: [u32; 3] = [0, 345_600_000, 32_400_000];

fn play(network: &Network, pace: Pace) -> anyhow::Result<Played> {
    let mut played = Played::default();
    for host in CLIENTS {
        hosts::set_sysctl(network, host, "tcp_timestamps", "2")?;
    }
    let settings = Settings {
        vip: VIP,
        server: SERVER_ADDRESS,
        pool: vec![SOURCE_NAT],
        ports: Ports::Chosen(PORTS),
        clocks: CLOCKS.to_vec(),
        record: true,
    };
    let balancer = Balancer::start(network, &settings)?;
    let at = (SERVER_ADDRESS, PORT);
    let lasting = Duration::from_secs(if pace == Pace::Short { 8 } else { 60 });

    let server = Service::start(network, SERVER, at, 8, load::answer_and_wait)?;
    let tally = everybody(network, lasting, load::ask_and_close)?;
    drop(server);
    let (clocks, backwards) = clocks_of(&balancer.seen(), SOURCE_NAT);
    let held = hosts::sockets(network, CLIENTS[0], State::TimeWait)?;
    let at_server = hosts::sockets(network, SERVER, State::TimeWait)?;
    played.say(format!(
        "one address: {} connections, {} failed; {clocks} clocks in its SYNs, {backwards} of them \
         behind the one before; {held} TIME-WAITs at the first client, {at_server} at the server",
        tally.done,
        tally.failures()
    ));
    ensure!(clocks == 3 && backwards > 50, "the clocks are not mixed: {played:?}");
    ensure!(held > 100 && at_server == 0, "the clients did not close first: {played:?}");
    sleep(PAUSE);

    let _server = Service::start(network, SERVER, at, 8, load::answer_and_close)?;
    let (tally, refused) = server_closes(network, lasting)?;
    played.say(format!(
        "the server closes first: {} connections, {} failed; it refused {refused} SYNs by PAWS",
        tally.done,
        tally.failures()
    ));
    ensure!(refused > 20, "the server refused too few: {played:?}");

    let pool: Vec<[u8; 4]> = (1..=3).map(|n| [10, 83, 2, 200 + n]).collect();
    balancer.behaviour.address_per_client.store(true, Ordering::Relaxed);
    *balancer.behaviour.pool.lock().unwrap_or_else(PoisonError::into_inner) = pool.clone();
    sleep(PAUSE);
    played.cured();
    let (tally, refused) = server_closes(network, lasting)?;
    let seen = balancer.seen();
    let each: Vec<(usize, usize)> = pool.iter().map(|address| clocks_of(&seen, *address)).collect();
    played.say(format!(
        "an address for each: {} connections, {} failed, {refused} SYNs refused; clocks and SYNs \
         behind the one before, by address: {each:?}",
        tally.done,
        tally.failures()
    ));
    ensure!(each.iter().all(|of| *of == (1, 0)), "clocks are still mixed: {played:?}");
    ensure!(refused == 0 && tally.failures() == 0, "the server still refuses: {played:?}");
    Ok(played)
}

/// All clients, and how many SYNs the server's kernel refused by PAWS.
fn server_closes(network: &Network, lasting: Duration) -> anyhow::Result<(Tally, i64)> {
    let before = hosts::counters(network, SERVER)?;
    let tally = everybody(network, lasting, load::ask_and_wait)?;
    let moved = hosts::moved(&before, &hosts::counters(network, SERVER)?);
    // Counted as the former since 6.16, as the latter before.
    let refused = ["PAWSTimewait", "PAWSEstab"].iter().filter_map(|name| moved.get(*name));
    Ok((tally, refused.sum()))
}

/// All clients at once.
fn everybody(
    network: &Network,
    lasting: Duration,
    exchange: load::Exchange,
) -> anyhow::Result<Tally> {
    let load = |host| Load { host, from: &[], to: (VIP, PORT), rate: 40, lasting, exchange };
    thread::scope(|scope| {
        let clients = CLIENTS.map(|host| scope.spawn(move || load(host).run(network)));
        let mut sum = Tally::default();
        for client in clients {
            sum.add(client.join().unwrap_or_else(|_| anyhow::bail!("a load panicked"))?);
        }
        Ok(sum)
    })
}

/// How many clocks the SYNs of an address show, and how many SYNs are behind the one before.
fn clocks_of(seen: &[Seen], address: [u8; 4]) -> (usize, usize) {
    let from = std::net::Ipv4Addr::from(address).to_ipv6_mapped().octets();
    let stamps: Vec<(u64, u32)> = seen
        .iter()
        .filter(|seen| seen.record.src_addr == from && seen.record.is_pure_syn())
        .filter_map(|seen| Some((seen.at_ns / 1_000_000, seen.record.timestamp()?)))
        .collect();
    // A clock of milliseconds is where it was at the time 0, give or take how long a SYN took.
    let origin = |(at_ms, stamp): &(u64, u32)| stamp.wrapping_sub(*at_ms as u32) / 1000;
    let mut origins: Vec<u32> = stamps.iter().map(origin).collect();
    origins.sort_unstable();
    origins.dedup_by(|a, b| a.abs_diff(*b) <= 1);

    let behind = |pair: &&[(u64, u32)]| pair[1].1.wrapping_sub(pair[0].1).cast_signed() < 0;
    (origins.len(), stamps.windows(2).filter(behind).count())
}
