//! What the hosts of the lab do: a service that closes first, clients that choose their source port,
//! and what their kernels counted.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context;
use socket2::{Domain, Socket, Type};

use super::network::{CLIENTS, Network, PORT, SERVER, VIP};

/// One of the two clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// 10.24.18.13.
    One,
    /// 10.24.18.14.
    Two,
}

impl Client {
    /// Its address.
    #[must_use]
    pub fn address(self) -> [u8; 4] {
        CLIENTS[self as usize]
    }

    fn namespace(self) -> &'static str {
        ["client1", "client2"][self as usize]
    }
}

/// How a connect ended.
#[derive(Debug)]
pub struct Connected {
    /// The connection, or why there is none.
    pub result: io::Result<TcpStream>,
    /// How long it took.
    pub took: Duration,
}

/// Opens the service in the server's namespace.
///
/// # Errors
/// Those of binding.
pub fn listen(network: &Network) -> anyhow::Result<TcpListener> {
    network.in_namespace("server", || {
        TcpListener::bind((Ipv4Addr::from(SERVER), PORT)).context("the server's listener")
    })
}

/// Connects to the VIP from a source port of our choice, waiting at most `patience`.
///
/// # Errors
/// Those of making the socket; how the connect went is in the result.
pub fn connect(
    network: &Network,
    client: Client,
    port: u16,
    patience: Duration,
) -> anyhow::Result<Connected> {
    network.in_namespace(client.namespace(), || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        let from = SocketAddr::from((Ipv4Addr::from(client.address()), port));
        socket.bind(&from.into()).with_context(|| format!("binding {from}"))?;
        let to = SocketAddr::from((Ipv4Addr::from(VIP), PORT));
        let began = Instant::now();
        let result = socket.connect_timeout(&to.into(), patience);
        Ok(Connected { result: result.map(|()| socket.into()), took: began.elapsed() })
    })
}

/// One request and its answer.
///
/// # Errors
/// Those of the two sockets.
pub fn talk(client: &mut TcpStream, server: &mut TcpStream) -> io::Result<()> {
    client.write_all(&[b'q'; 100])?;
    server.read_exact(&mut [0; 100])?;
    server.write_all(&[b'a'; 1000])?;
    client.read_exact(&mut [0; 1000])
}

/// Sets a sysctl under `net/ipv4` in a client's namespace.
///
/// # Errors
/// Those of writing it.
pub fn set_client_sysctl(
    network: &Network,
    client: Client,
    name: &str,
    value: &str,
) -> anyhow::Result<()> {
    network.in_namespace(client.namespace(), || {
        let path = format!("/proc/sys/net/ipv4/{name}");
        std::fs::write(&path, value).with_context(|| format!("writing {path}"))
    })
}

/// What the server's kernel has counted so far, as `nstat` would name it.
///
/// # Errors
/// Those of reading `/proc/net`.
pub fn server_counters(network: &Network) -> anyhow::Result<BTreeMap<String, i64>> {
    network.in_namespace("server", || {
        let mut counters = BTreeMap::new();
        for file in ["snmp", "netstat"] {
            let text = std::fs::read_to_string(format!("/proc/thread-self/net/{file}"))?;
            let lines: Vec<&str> = text.lines().collect();
            for pair in lines.chunks(2) {
                let [names, values] = pair else { continue };
                let pairs = names.split_whitespace().zip(values.split_whitespace()).skip(1);
                for (name, value) in pairs {
                    counters.insert(name.to_owned(), value.parse().unwrap_or(0));
                }
            }
        }
        Ok(counters)
    })
}

/// How many of the server's sockets are in TIME-WAIT (state 6 of `/proc/net/tcp`).
///
/// # Errors
/// Those of reading `/proc/net`.
pub fn server_time_waits(network: &Network) -> anyhow::Result<usize> {
    network.in_namespace("server", || {
        let text = std::fs::read_to_string("/proc/thread-self/net/tcp")?;
        let state = |line: &str| line.split_whitespace().nth(3).map(str::to_owned);
        Ok(text.lines().filter(|line| state(line).as_deref() == Some("06")).count())
    })
}
