//! The two clients of a collision: they choose their source port.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context;
use socket2::{Domain, Socket, Type};

use super::{PORT, TOPOLOGY, VIP};
use crate::lab::network::Network;

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
        TOPOLOGY.hosts[self as usize].addresses[0]
    }

    /// Its namespace.
    #[must_use]
    pub fn name(self) -> &'static str {
        TOPOLOGY.hosts[self as usize].name
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
    network.in_namespace(client.name(), || {
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
