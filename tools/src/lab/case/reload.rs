//! Field case 4: an agent reloads HAProxy often. Each reload closes the listener for a moment, or closes
//! one in which connections wait (the kernel resets them), and leaves an old process behind, which waits
//! for half-closed connections. Cured by passing the listeners on (`-x`), by time-outs for half-closed
//! connections and by `hard-stop-after`.

use std::thread::{self, sleep};
use std::time::Duration;

use anyhow::ensure;

use super::half_closed::{FIN_TIMEOUTS, NO_LINGER, never_closing};
use super::{BACK, CLIENT, Case, FRONT, PAUSE, PROXY, Pace, Played, SERVER, WEB, configuration};
use crate::lab::haproxy::{HaProxy, Reload};
use crate::lab::load::{self, Load, Service, Tally};
use crate::lab::network::Network;

pub const CASE: Case = Case {
    name: "reload",
    about: "HAProxy reloads with a gap and old processes linger; cured by -x, time-outs, hard stop",
    topology: WEB,
    sensor: &["--half-closed-limit", "3s"],
    play,
};

const RELOADS: usize = 3;
/// Long enough for connections to wait, far below what they would take for an application's reset.
const STALL: Duration = Duration::from_millis(100);
/// Half-closed connections that each old process is left with.
const LEFT: usize = 4;

fn play(network: &Network, pace: Pace) -> anyhow::Result<Played> {
    let mut played = Played::default();
    let hold = Duration::from_secs(if pace == Pace::Short { 5 } else { 60 });
    let _server = Service::start(network, SERVER, BACK, 16, load::answer_and_close)?;
    let plain = configuration("tcp", "", "");
    let tally = stalled_reload(network, &plain)?;
    played.say(format!(
        "a reload beside a process that got no processor: {} connects, {} failed ({:?})",
        tally.done,
        tally.failures(),
        tally.failed
    ));
    let resets = tally.failed.get("exchange: ConnectionReset").copied().unwrap_or(0);
    ensure!(resets > 0, "nothing that waited in the old listener was reset: {played:?}");

    let mut proxy = HaProxy::start(network, PROXY, &plain, Reload::Gap)?;

    let (tally, clients) = reloads(network, &mut proxy, &plain, Reload::Gap)?;
    sleep(hold);
    let processes = proxy.processes();
    played.say(format!(
        "{RELOADS} reloads that bind anew: {} connects, {} failed ({:?}); after {hold:?} {processes} \
         processes are alive",
        tally.done,
        tally.failures(),
        tally.failed
    ));
    ensure!(tally.failures() > 0, "no reload left a gap: {played:?}");
    ensure!(processes == RELOADS + 1, "the old processes did not stay: {played:?}");
    drop(clients);
    sleep(PAUSE);

    let cure =
        format!("global\n  hard-stop-after 3s\n{}", configuration("tcp", FIN_TIMEOUTS, NO_LINGER));
    proxy.reload(&cure, Reload::Hitless)?;
    sleep(PAUSE);
    played.cured();
    let (tally, clients) = reloads(network, &mut proxy, &cure, Reload::Hitless)?;
    sleep(hold);
    let processes = proxy.processes();
    played.say(format!(
        "{RELOADS} reloads that pass the listeners on: {} connects, {} failed ({:?}); after {hold:?} \
         {processes} process is alive",
        tally.done,
        tally.failures(),
        tally.failed
    ));
    ensure!(tally.failures() == 0 && processes == 1, "it is no cure: {played:?}");
    drop(clients);
    Ok(played)
}

/// A reload while connections wait for a process that gets no processor: when it closes its listener,
/// the kernel resets them, though their handshakes are complete.
fn stalled_reload(network: &Network, configuration: &str) -> anyhow::Result<Tally> {
    let mut proxy = HaProxy::start(network, PROXY, configuration, Reload::Shared)?;
    let load = Load {
        host: CLIENT,
        from: &[],
        to: FRONT,
        rate: 200,
        lasting: Duration::from_secs(2),
        exchange: load::ask_and_wait,
    };
    thread::scope(|scope| {
        let tally = scope.spawn(|| load.run(network));
        sleep(PAUSE);
        proxy.stall(true)?;
        sleep(STALL);
        let old = proxy.reload(configuration, Reload::Shared);
        proxy.stall(false)?;
        old?;
        tally.join().unwrap_or_else(|_| anyhow::bail!("the load panicked"))
    })
}

/// Reloads under load, each time leaving half-closed connections to the process that goes.
fn reloads(
    network: &Network,
    proxy: &mut HaProxy<'_>,
    configuration: &str,
    how: Reload,
) -> anyhow::Result<(Tally, Vec<std::net::TcpStream>)> {
    let load = Load {
        host: CLIENT,
        from: &[],
        to: FRONT,
        rate: 800,
        lasting: Duration::from_secs(RELOADS as u64 * 2),
        exchange: load::ask_and_wait,
    };
    thread::scope(|scope| {
        let tally = scope.spawn(|| load.run(network));
        let mut clients = Vec::new();
        for _ in 0..RELOADS {
            clients.extend(never_closing(network, LEFT)?);
            sleep(PAUSE);
            proxy.reload(configuration, how)?;
            sleep(Duration::from_secs(1));
        }
        let tally = tally.join().unwrap_or_else(|_| anyhow::bail!("the load panicked"))?;
        Ok((tally, clients))
    })
}
