//! Many connections at a rate, a service to take them, and how each connect went.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::Context;
use socket2::{Domain, SockRef, Socket, Type};

use super::network::Network;

/// An address and a port.
pub type Endpoint = ([u8; 4], u16);

/// What is done with a connection.
pub type Exchange = fn(TcpStream) -> io::Result<()>;

/// Bytes of a request and of its answer.
const REQUEST: [u8; 100] = [b'q'; 100];
const ANSWER: [u8; 200] = [b'a'; 200];

/// No connection of the lab is silent for longer than this.
const PATIENCE: Duration = Duration::from_secs(30);

/// A listener whose threads serve what it accepts.
#[derive(Debug)]
pub struct Service {
    listener: Arc<TcpListener>,
}

impl Service {
    /// Listens in a host's namespace. Each thread serves one connection at a time. The port may be
    /// shared with another service (SO_REUSEPORT).
    ///
    /// # Errors
    /// Those of the listener.
    pub fn start(
        network: &Network,
        host: &str,
        at: Endpoint,
        threads: usize,
        serve: Exchange,
    ) -> anyhow::Result<Self> {
        let listener = network.in_namespace(host, || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.set_reuse_port(true)?;
            socket.bind(&SocketAddr::from((Ipv4Addr::from(at.0), at.1)).into())?;
            socket.listen(4096)?;
            Ok(socket.into())
        });
        let listener: Arc<TcpListener> =
            Arc::new(listener.with_context(|| format!("listening at {at:?}"))?);
        for _ in 0..threads {
            let listener = Arc::clone(&listener);
            thread::spawn(move || {
                while let Ok((stream, _)) = listener.accept() {
                    // A client that went away is the client's affair.
                    let _ = stream.set_read_timeout(Some(PATIENCE)).and_then(|()| serve(stream));
                }
            });
        }
        Ok(Self { listener })
    }
}

impl Drop for Service {
    /// No more connections are taken from now on; those accepted end by themselves.
    fn drop(&mut self) {
        let _ = SockRef::from(&*self.listener).shutdown(Shutdown::Both);
    }
}

/// The server answers and closes.
///
/// # Errors
/// Those of the socket.
pub fn answer_and_close(mut stream: TcpStream) -> io::Result<()> {
    stream.read_exact(&mut [0; REQUEST.len()])?;
    stream.write_all(&ANSWER)
}

/// The server answers and waits until the client has closed.
///
/// # Errors
/// Those of the socket.
pub fn answer_and_wait(mut stream: TcpStream) -> io::Result<()> {
    stream.read_exact(&mut [0; REQUEST.len()])?;
    stream.write_all(&ANSWER)?;
    stream.read_to_end(&mut Vec::new()).map(|_| ())
}

/// The client asks and waits until the server has closed.
///
/// # Errors
/// Those of the socket.
pub fn ask_and_wait(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(&REQUEST)?;
    stream.read_to_end(&mut Vec::new()).map(|_| ())
}

/// The client asks and closes as soon as it has its answer.
///
/// # Errors
/// Those of the socket.
pub fn ask_and_close(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(&REQUEST)?;
    stream.read_exact(&mut [0; ANSWER.len()])
}

/// Connections to be made from one host.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// The namespace.
    pub host: &'a str,
    /// Its addresses, in turn; none leaves the choice to the kernel.
    pub from: &'a [[u8; 4]],
    /// The service.
    pub to: Endpoint,
    /// Connections a second.
    pub rate: u32,
    /// For how long.
    pub lasting: Duration,
    /// What is done with each.
    pub exchange: Exchange,
}

/// How the connections of a load went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Connected and exchanged.
    pub done: u32,
    /// Of these, connects that took 10 ms or more: the first SYN was not taken.
    pub slow: u32,
    /// The others, by what went wrong: `connect` or `exchange`, and the error.
    pub failed: BTreeMap<String, u32>,
}

impl Tally {
    /// All that went wrong.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failed.values().sum()
    }

    /// Adds what another load met.
    pub fn add(&mut self, other: Self) {
        self.done += other.done;
        self.slow += other.slow;
        other.failed.into_iter().for_each(|(why, n)| *self.failed.entry(why).or_default() += n);
    }
}

/// Threads that make a load's connections.
const THREADS: u32 = 8;

/// A connect that is not answered is given up after this.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);

impl Load<'_> {
    /// Makes them.
    ///
    /// # Errors
    /// That of entering the namespace; how connections went is in the tally.
    pub fn run(&self, network: &Network) -> anyhow::Result<Tally> {
        let next = AtomicU32::new(0);
        network.in_namespace(self.host, || {
            let began = Instant::now();
            let tallies = thread::scope(|scope| {
                let threads: Vec<_> =
                    (0..THREADS).map(|_| scope.spawn(|| self.work(began, &next))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
            });
            let tallies: Vec<Tally> = tallies;
            let mut sum = Tally::default();
            tallies.into_iter().for_each(|tally| sum.add(tally));
            Ok(sum)
        })
    }

    fn work(&self, began: Instant, next: &AtomicU32) -> Tally {
        let mut tally = Tally::default();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let due = Duration::from_secs(u64::from(n)) / self.rate;
            if due >= self.lasting {
                return tally;
            }
            sleep(due.saturating_sub(began.elapsed()));
            if let Err((at, error)) = self.connection(n, &mut tally) {
                *tally.failed.entry(format!("{at}: {:?}", error.kind())).or_default() += 1;
            }
        }
    }

    fn connection(&self, n: u32, tally: &mut Tally) -> Result<(), (&'static str, io::Error)> {
        let at_connect = |error| ("connect", error);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).map_err(at_connect)?;
        if !self.from.is_empty() {
            let from = self.from[n as usize % self.from.len()];
            let from = SocketAddr::from((Ipv4Addr::from(from), 0));
            socket.bind(&from.into()).map_err(at_connect)?;
        }
        let to = SocketAddr::from((Ipv4Addr::from(self.to.0), self.to.1));
        let began = Instant::now();
        socket.connect_timeout(&to.into(), CONNECT_PATIENCE).map_err(at_connect)?;
        let slow = began.elapsed() >= Duration::from_millis(10);
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).map_err(at_connect)?;
        (self.exchange)(stream).map_err(|error| ("exchange", error))?;
        tally.done += 1;
        tally.slow += u32::from(slow);
        Ok(())
    }
}
