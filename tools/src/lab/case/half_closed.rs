//! Field case 4: the server closes, HAProxy closes towards the client, and the client never does.
//! HAProxy keeps FIN-WAIT-2 on one leg and CLOSE-WAIT on the other for as long as `timeout client`
//! lets it. Cured by `timeout client-fin` and `server-fin`.
//!
//! Time-outs alone end the server's leg; towards the client HAProxy then drops its socket without a
//! word, so that leg stays half-closed on the wire. `option nolinger` makes it send a RST.

use std::net::{Ipv4Addr, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use anyhow::ensure;

use super::{BACK, CLIENT, Case, FRONT, PAUSE, PROXY, Pace, Played, SERVER, WEB, configuration};
use crate::lab::haproxy::{HaProxy, Reload};
use crate::lab::hosts::{self, State};
use crate::lab::load::{self, Load, Service, Tally};
use crate::lab::network::Network;

pub const CASE: Case = Case {
    name: "half-closed",
    about: "clients behind HAProxy never send their FIN; cured by client-fin, server-fin, nolinger",
    topology: WEB,
    sensor: &["--half-closed-limit", "3s"],
    play,
};

/// Time-outs for half-closed connections, short enough to watch.
pub const FIN_TIMEOUTS: &str = "  timeout client-fin 1s\n  timeout server-fin 1s";
/// What makes HAProxy say that it has dropped a client.
pub const NO_LINGER: &str = "  option nolinger";

const CONNECTIONS: usize = 12;

fn play(network: &Network, pace: Pace) -> anyhow::Result<Played> {
    let mut played = Played::default();
    // After a minute the server's kernel gives up its FIN-WAIT-2, and HAProxy its own by `timeout`.
    let hold = Duration::from_secs(if pace == Pace::Short { 6 } else { 50 });
    let _server = Service::start(network, SERVER, BACK, 16, load::answer_and_close)?;
    let mut proxy = HaProxy::start(network, PROXY, &configuration("tcp", "", ""), Reload::Hitless)?;

    let tally = ordinary(network)?;
    played.say(format!(
        "{} connections that both ends closed, {} failed",
        tally.done,
        tally.failures()
    ));
    ensure!(tally.failures() == 0, "{played:?}");
    sleep(PAUSE);

    let clients = never_closing(network, CONNECTIONS)?;
    sleep(hold);
    let held = states(network)?;
    played.say(format!("with `timeout client` alone, after {hold:?}: {held}"));
    ensure!(
        held.proxy == (CONNECTIONS, CONNECTIONS) && held.client == CONNECTIONS,
        "the legs are not half closed: {played:?}"
    );
    drop(clients);
    sleep(PAUSE);

    let cure = configuration("tcp", FIN_TIMEOUTS, NO_LINGER);
    proxy.reload(&cure, Reload::Hitless)?;
    sleep(PAUSE);
    played.cured();
    let clients = never_closing(network, CONNECTIONS)?;
    sleep(Duration::from_secs(2));
    let held = states(network)?;
    played.say(format!("with client-fin and server-fin of 1 s, after 2 s: {held}"));
    ensure!(held.proxy == (0, 0) && held.client == 0, "they are no cure: {played:?}");
    sleep(hold.saturating_sub(Duration::from_secs(2)));
    drop(clients);
    Ok(played)
}

/// Traffic as it always is. A watcher who knows neither HAProxy nor its configuration learns from it
/// which of HAProxy's connections carry which clients'.
fn ordinary(network: &Network) -> anyhow::Result<Tally> {
    let load = Load {
        host: CLIENT,
        from: &[],
        to: FRONT,
        rate: 150,
        lasting: Duration::from_secs(4),
        exchange: load::ask_and_wait,
    };
    load.run(network)
}

/// Connections whose server has closed, and whose client will when this is dropped.
pub fn never_closing(network: &Network, count: usize) -> anyhow::Result<Vec<TcpStream>> {
    network.in_namespace(CLIENT, || {
        let connect = |_| {
            let stream = TcpStream::connect((Ipv4Addr::from(FRONT.0), FRONT.1))?;
            load::ask_and_wait(stream.try_clone()?)?;
            Ok(stream)
        };
        (0..count).map(connect).collect()
    })
}

/// The states that half-closed connections leave.
pub struct States {
    /// HAProxy's FIN-WAIT-2 (towards clients) and CLOSE-WAIT (towards servers).
    pub proxy: (usize, usize),
    /// The client's CLOSE-WAIT.
    pub client: usize,
    /// The server's FIN-WAIT-2.
    pub server: usize,
}

impl std::fmt::Display for States {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { proxy, client, server } = self;
        let (waiting, closing) = proxy;
        write!(
            f,
            "HAProxy's host {waiting} FIN-WAIT-2 and {closing} CLOSE-WAIT, client {client} \
             CLOSE-WAIT, server {server} FIN-WAIT-2"
        )
    }
}

/// What the kernels hold now.
pub fn states(network: &Network) -> anyhow::Result<States> {
    let count = |host, state| hosts::sockets(network, host, state);
    Ok(States {
        proxy: (count(PROXY, State::FinWait2)?, count(PROXY, State::CloseWait)?),
        client: count(CLIENT, State::CloseWait)?,
        server: count(SERVER, State::FinWait2)?,
    })
}
