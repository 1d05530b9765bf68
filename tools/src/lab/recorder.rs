//! Keeps what the mirror port was sent, whether or not a sensor takes it there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::network::{MIDDLE, Network, SPAN};
use super::sys::{self, PacketSocket, now_ns};

/// A frame and when it came, nanoseconds since the Unix epoch.
pub type Timed = (u64, Vec<u8>);

/// A running recorder.
#[derive(Debug)]
pub struct Recorder {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Timed>>,
}

impl Recorder {
    /// Starts it. Memory is the only limit.
    ///
    /// # Errors
    /// Those of its packet socket.
    pub fn start(network: &Network) -> anyhow::Result<Self> {
        let socket = network.in_namespace(MIDDLE, || Ok(PacketSocket::open_outgoing(SPAN)?))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let (sockets, mut frames) = ([socket], Vec::new());
            let mut buffer = [0; 65_536];
            while !stopped.load(Ordering::Relaxed) {
                while let Ok(Some(frame)) = sockets[0].receive(&mut buffer) {
                    frames.push((now_ns(), frame.to_vec()));
                }
                if sys::wait(&sockets, Duration::from_millis(50)).is_err() {
                    break;
                }
            }
            frames
        });
        Ok(Self { stop, thread })
    }

    /// Ends it; all that it kept, in order.
    #[must_use]
    pub fn stop(self) -> Vec<Timed> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}
