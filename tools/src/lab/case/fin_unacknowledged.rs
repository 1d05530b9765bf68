//! Field case 4: clients vanish, and the FINs of the server that closes are never acknowledged: its
//! kernel keeps FIN-WAIT-1 and repeats them. `tcp_orphan_retries` makes it give up sooner; what
//! cures it is the clients' coming back.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use anyhow::ensure;

use super::{BACK, CLIENT, Case, PAUSE, Pace, Played, SERVER, WEB};
use crate::lab::hosts::{self, State};
use crate::lab::load::Service;
use crate::lab::network::Network;

pub const CASE: Case = Case {
    name: "fin-unacknowledged",
    about: "clients vanish before the server closes; cured by their coming back",
    topology: WEB,
    sensor: &[],
    play,
};

const CONNECTIONS: usize = 3;
/// From a request to the server's close.
const KEPT: Duration = Duration::from_secs(1);

fn play(network: &Network, pace: Pace) -> anyhow::Result<Played> {
    let mut played = Played::default();
    let hold = Duration::from_secs(if pace == Pace::Short { 7 } else { 60 });
    let _server = Service::start(network, SERVER, BACK, 8, keep_and_close)?;

    let (waiting, repeated) = close_on_nobody(network, hold)?;
    played.say(format!(
        "{hold:?} after the clients went: {waiting} FIN-WAIT-1 at the server, {repeated} FINs repeated"
    ));
    ensure!(waiting == CONNECTIONS && repeated >= 4 * CONNECTIONS as i64, "{played:?}");

    hosts::set_sysctl(network, SERVER, "tcp_orphan_retries", "1")?;
    let (waiting, repeated) = close_on_nobody(network, Duration::from_secs(4))?;
    played.say(format!(
        "with tcp_orphan_retries=1, after 4 s: {waiting} FIN-WAIT-1, {repeated} FINs repeated"
    ));
    ensure!(waiting == 0, "the kernel did not give up: {played:?}");

    played.cured();
    let clients = ask(network)?;
    sleep(KEPT + PAUSE);
    let waiting = hosts::sockets(network, SERVER, State::FinWait1)?;
    played.say(format!("with the clients back: {waiting} FIN-WAIT-1"));
    ensure!(waiting == 0, "{played:?}");
    drop(clients);
    sleep(PAUSE);
    Ok(played)
}

/// Answers, keeps the connection for a while, closes.
fn keep_and_close(mut stream: TcpStream) -> io::Result<()> {
    stream.read_exact(&mut [0; 100])?;
    stream.write_all(&[b'a'; 200])?;
    sleep(KEPT);
    Ok(())
}

/// Connections that have their answer.
fn ask(network: &Network) -> anyhow::Result<Vec<TcpStream>> {
    network.in_namespace(CLIENT, || {
        let ask = |_| {
            let mut stream = TcpStream::connect((Ipv4Addr::from(BACK.0), BACK.1))?;
            stream.write_all(&[b'q'; 100])?;
            stream.read_exact(&mut [0; 200])?;
            Ok(stream)
        };
        (0..CONNECTIONS).map(ask).collect()
    })
}

/// Clients that are gone when the server closes. The server's FIN-WAIT-1s after `hold`, and the
/// segments that it repeated.
fn close_on_nobody(network: &Network, hold: Duration) -> anyhow::Result<(usize, i64)> {
    let clients = ask(network)?;
    let before = hosts::counters(network, SERVER)?;
    network.vanish(CLIENT, true)?;
    sleep(KEPT + hold);
    let waiting = hosts::sockets(network, SERVER, State::FinWait1)?;
    let moved = hosts::moved(&before, &hosts::counters(network, SERVER)?);
    network.vanish(CLIENT, false)?;
    drop(clients);
    sleep(PAUSE);
    Ok((waiting, moved.get("RetransSegs").copied().unwrap_or(0)))
}
