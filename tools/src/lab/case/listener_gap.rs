//! Field case 4: a service's listener is closed for 300 ms, as by a restart, while SYNs arrive: they
//! get RST. Cured by opening the new listener before the old one is closed.

use std::thread::{self, sleep};
use std::time::Duration;

use anyhow::ensure;

use super::{BACK, CLIENT, Case, PAUSE, Pace, Played, SERVER, WEB};
use crate::lab::hosts;
use crate::lab::load::{self, Load, Service};
use crate::lab::network::Network;

pub const CASE: Case = Case {
    name: "listener-gap",
    about: "a listener is closed for 300 ms; cured by opening the new one first",
    topology: WEB,
    sensor: &[],
    play,
};

const GAP: Duration = Duration::from_millis(300);

fn play(network: &Network, pace: Pace) -> anyhow::Result<Played> {
    let mut played = Played::default();
    let open = || Service::start(network, SERVER, BACK, 8, load::answer_and_close);
    let load = Load {
        host: CLIENT,
        from: &[],
        to: BACK,
        rate: 300,
        lasting: Duration::from_secs(if pace == Pace::Short { 6 } else { 60 }),
        exchange: load::ask_and_wait,
    };

    let old = open()?;
    let (tally, new) = thread::scope(|scope| {
        let tally = scope.spawn(|| load.run(network));
        sleep(load.lasting / 2);
        drop(old);
        sleep(GAP);
        let new = open()?;
        let tally = tally.join().unwrap_or_else(|_| anyhow::bail!("the load panicked"))?;
        anyhow::Ok((tally, new))
    })?;
    played.say(format!(
        "closed for {GAP:?}: {} connections, {} failed ({:?})",
        tally.done,
        tally.failures(),
        tally.failed
    ));
    let refused = tally.failed.get("connect: ConnectionRefused").copied().unwrap_or(0);
    ensure!((60..=150).contains(&refused), "SYNs were not refused for {GAP:?}: {played:?}");

    // What waits in the old listener goes to the new one instead of being reset.
    hosts::set_sysctl(network, SERVER, "tcp_migrate_req", "1")?;
    sleep(PAUSE);
    played.cured();
    let old = new;
    let (tally, _new) = thread::scope(|scope| {
        let tally = scope.spawn(|| load.run(network));
        sleep(load.lasting / 2);
        let new = open()?;
        drop(old);
        let tally = tally.join().unwrap_or_else(|_| anyhow::bail!("the load panicked"))?;
        anyhow::Ok((tally, new))
    })?;
    played.say(format!(
        "opened before the old one was closed: {} connections, {} failed ({:?})",
        tally.done,
        tally.failures(),
        tally.failed
    ));
    ensure!(tally.failures() == 0, "it is no cure: {played:?}");
    Ok(played)
}
