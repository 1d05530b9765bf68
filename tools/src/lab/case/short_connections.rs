//! Field case 1: HAProxy closes after each request (`option httpclose`, once `forceclose`), so that
//! every small file costs a connection and a client's tuples are soon back. Cured by keep-alive.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::{BACK, CLIENT, Case, FRONT, PAUSE, PROXY, Pace, Played, SERVER, WEB, configuration};
use crate::lab::haproxy::{HaProxy, Reload};
use crate::lab::hosts::{self, State};
use crate::lab::http::{self, Browser};
use crate::lab::load::Service;
use crate::lab::network::Network;

pub const CASE: Case = Case {
    name: "short-connections",
    about: "HAProxy closes after each file and tuples are back in seconds; cured by keep-alive",
    topology: WEB,
    sensor: &[],
    play,
};

/// Ports that the client's kernel may choose of.
const RANGE: &str = "40000 40999";

fn play(network: &Network, pace: Pace) -> anyhow::Result<Played> {
    let mut played = Played::default();
    hosts::set_sysctl(network, CLIENT, "ip_local_port_range", RANGE)?;
    let _server = Service::start(network, SERVER, BACK, 16, http::serve)?;
    let mut proxy = HaProxy::start(
        network,
        PROXY,
        &configuration("http", "  option httpclose", ""),
        Reload::Hitless,
    )?;
    let lasting = Duration::from_secs(if pace == Pace::Short { 12 } else { 60 });
    let browser = Browser { host: CLIENT, to: FRONT, rate: 200, lasting };

    let visit = browser.run(network)?;
    let held = hosts::sockets(network, PROXY, State::TimeWait)?;
    let intervals = visit.reuse_intervals();
    let median = *intervals.get(intervals.len() / 2).context("no port was used again")?;
    played.say(format!(
        "httpclose: {} files, {} connections, {} not got, {} ports used again, after {median:?} in \
         the median; HAProxy's host holds {held} TIME-WAITs",
        visit.files,
        visit.connections.len(),
        visit.failed.0,
        intervals.len(),
    ));
    ensure!(visit.connections.len() >= visit.files as usize, "connections were kept: {played:?}");
    ensure!(held > 400, "HAProxy did not close first: {played:?}");
    ensure!(median < Duration::from_secs(10), "ports are not back within seconds: {played:?}");

    proxy.reload(&configuration("http", "  option http-keep-alive", ""), Reload::Hitless)?;
    sleep(PAUSE);
    played.cured();
    let visit = Browser { lasting: lasting / 2, ..browser }.run(network)?;
    played.say(format!(
        "http-keep-alive: {} files, {} connections, {} not got",
        visit.files,
        visit.connections.len(),
        visit.failed.0
    ));
    ensure!(visit.connections.len() == 1 && visit.failed.0 == 0, "{played:?}");
    Ok(played)
}
