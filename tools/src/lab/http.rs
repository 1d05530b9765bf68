//! As much of HTTP/1.1 as the lab speaks: GET, Content-Length, `Connection: close`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::load::Endpoint;
use super::network::Network;

/// Bytes of each file.
const FILE: [u8; 500] = [b'f'; 500];

/// Answers requests on a connection until the client closes or asks that the server does.
///
/// # Errors
/// Those of the socket.
pub fn serve(stream: TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(head) = Head::read(&mut reader)? {
        let close = if head.close { "Connection: close\r\n" } else { "" };
        let mut answer =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{close}\r\n", FILE.len())
                .into_bytes();
        answer.extend(FILE);
        reader.get_mut().write_all(&answer)?;
        if head.close {
            break;
        }
    }
    Ok(())
}

/// What of a message's head matters here.
struct Head {
    first_line: String,
    length: usize,
    close: bool,
}

impl Head {
    /// The next one; none at the end of the stream.
    fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut head = Self { first_line: String::new(), length: 0, close: false };
        if reader.read_line(&mut head.first_line)? == 0 {
            return Ok(None);
        }
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim().to_ascii_lowercase();
            match line.split_once(':') {
                None => return Ok(Some(head)),
                Some(("content-length", n)) => head.length = n.trim().parse().unwrap_or(0),
                Some(("connection", what)) => head.close = what.trim() == "close",
                Some(_) => {}
            }
        }
    }
}

/// A browser: it gets files one after the other and keeps its connection if it may.
#[derive(Clone, Copy, Debug)]
pub struct Browser<'a> {
    /// The namespace.
    pub host: &'a str,
    /// The service.
    pub to: Endpoint,
    /// Files a second.
    pub rate: u32,
    /// For how long.
    pub lasting: Duration,
}

/// What a browser met.
#[derive(Clone, Debug, Default)]
pub struct Visit {
    /// Files it got.
    pub files: u32,
    /// Files it did not get, and why the last one failed.
    pub failed: (u32, String),
    /// The connections it made: when, since the start, and from which port.
    pub connections: Vec<(Duration, u16)>,
}

impl Visit {
    /// How long it took until a port was used again, over all that were; in order.
    #[must_use]
    pub fn reuse_intervals(&self) -> Vec<Duration> {
        let mut last = std::collections::BTreeMap::new();
        let mut intervals: Vec<Duration> = self
            .connections
            .iter()
            .filter_map(|(at, port)| last.insert(*port, *at).map(|before| *at - before))
            .collect();
        intervals.sort_unstable();
        intervals
    }
}

impl Browser<'_> {
    /// Gets files.
    ///
    /// # Errors
    /// That of entering the namespace.
    pub fn run(&self, network: &Network) -> anyhow::Result<Visit> {
        network.in_namespace(self.host, || {
            let (began, mut visit) = (Instant::now(), Visit::default());
            let mut connection = None;
            for n in 0.. {
                let due = Duration::from_secs(n) / self.rate;
                if due >= self.lasting {
                    break;
                }
                sleep(due.saturating_sub(began.elapsed()));
                match self.file(connection.take(), began, &mut visit) {
                    Ok(kept) => {
                        visit.files += 1;
                        connection = kept;
                    }
                    Err(error) => visit.failed = (visit.failed.0 + 1, error.to_string()),
                }
            }
            Ok(visit)
        })
    }

    /// Gets one file. Returns the connection if it stays open.
    fn file(
        &self,
        kept: Option<BufReader<TcpStream>>,
        began: Instant,
        visit: &mut Visit,
    ) -> io::Result<Option<BufReader<TcpStream>>> {
        let mut reader = match kept {
            Some(reader) => reader,
            None => {
                let at = began.elapsed();
                let to = SocketAddr::from((Ipv4Addr::from(self.to.0), self.to.1));
                let stream = TcpStream::connect_timeout(&to, Duration::from_secs(3))?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(Duration::from_secs(5)))?;
                visit.connections.push((at, stream.local_addr()?.port()));
                BufReader::new(stream)
            }
        };
        reader.get_mut().write_all(b"GET /file HTTP/1.1\r\nHost: lab\r\n\r\n")?;
        let head = Head::read(&mut reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        reader.read_exact(&mut vec![0; head.length])?;
        if !head.first_line.contains(" 200 ") {
            return Err(io::Error::other(head.first_line));
        }
        if head.close {
            reader.read_to_end(&mut Vec::new())?;
            return Ok(None);
        }
        Ok(Some(reader))
    }
}
