//! Field case 3: the client closes first, so it holds every TIME-WAIT itself, for a minute, and runs
//! out of ports. `tcp_tw_reuse` does nothing for it, because no timestamps are negotiated. Cured by a
//! wider range.

use std::thread::sleep;
use std::time::Duration;

use anyhow::ensure;

use super::{BACK, CLIENT, Case, PAUSE, Pace, Played, SERVER, WEB};
use crate::lab::hosts::{self, State};
use crate::lab::load::{self, Load, Service};
use crate::lab::network::Network;

pub const CASE: Case = Case {
    name: "client-ports",
    about: "the client closes first and its TIME-WAITs fill its ports; cured by a wider range",
    topology: WEB,
    sensor: &[],
    play,
};

/// A thousand ports, and what Linux has unless told otherwise.
const NARROW: &str = "40000 40999";
const WIDE: &str = "32768 60999";

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

    hosts::set_sysctl(network, CLIENT, "ip_local_port_range", WIDE)?;
    sleep(PAUSE);
    played.cured();
    let tally = load.run(network)?;
    played.say(format!("28232 ports: {} connections, {} failed", tally.done, tally.failures()));
    ensure!(tally.failures() == 0, "a wider range is no cure: {tally:?}");
    Ok(played)
}
