//! Metrics as they are in live capture, only more often: the program's own HTTP server on loopback, its
//! numbers renewed and fetched hundreds of times a second.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use xdpwatch::api;
use xdpwatch::api::args::Plan;
use xdpwatch::report::{Context, Origin};
use xdpwatch::state::State;
use xdpwatch::stats::{DetectorStats, Stats};

/// Between two requests; Prometheus asks every fifteen seconds.
const PAUSE: Duration = Duration::from_millis(2);

/// A server and who asks it, while it is switched on.
pub struct Scraper {
    is_on: AtomicBool,
    scrapes: AtomicU64,
    /// What the packet path shows of itself.
    pub shown: Mutex<DetectorStats>,
}

impl Scraper {
    /// Starts both, switched off. They last as long as the process.
    ///
    /// # Errors
    /// Those of listening on loopback.
    pub fn start() -> anyhow::Result<Arc<Self>> {
        let at = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let state = State::default();
        let plan = Plan { at, is_asked_for: true, token: None, tls: None };
        api::serve(plan, state.clone(), None)?;
        let scraper = Arc::new(Self {
            is_on: AtomicBool::new(false),
            scrapes: AtomicU64::new(0),
            shown: Mutex::default(),
        });
        let runner = Arc::clone(&scraper);
        thread::Builder::new().name("scraper".to_owned()).spawn(move || runner.run(&state, at))?;
        Ok(scraper)
    }

    /// From now on it asks, or does not.
    pub fn switch(&self, is_on: bool) {
        self.is_on.store(is_on, Ordering::Relaxed);
    }

    /// Answers it got.
    pub fn scrapes(&self) -> u64 {
        self.scrapes.load(Ordering::Relaxed)
    }

    fn run(&self, state: &State, at: SocketAddr) {
        let origin = Origin::Interface("bench".to_owned());
        let context = Context { sensor: "bench".to_owned(), origin };
        loop {
            if self.is_on.load(Ordering::Relaxed) {
                let detector = *self.shown.lock().unwrap_or_else(PoisonError::into_inner);
                state.show(&context, Stats { detector, ..Stats::default() }, None);
                let answer = ask(at).unwrap_or_default();
                assert!(answer.contains("xdpwatch_detector_records"), "no metrics: {answer}");
                self.scrapes.fetch_add(1, Ordering::Relaxed);
            }
            thread::sleep(PAUSE);
        }
    }
}

fn ask(at: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(at)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("reading the metrics")?;
    Ok(answer)
}
