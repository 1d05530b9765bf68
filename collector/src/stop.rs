//! Signals: SIGINT and SIGTERM ask for an orderly end, SIGUSR1 for statistics.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};

/// What signals have asked for.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    end: Arc<AtomicBool>,
    stats: Arc<AtomicBool>,
}

impl Requests {
    /// Listens to the signals. A second SIGINT or SIGTERM ends the process at once.
    ///
    /// # Errors
    /// Those of installing a signal handler.
    pub fn listen() -> io::Result<Self> {
        let requests = Self::default();
        for signal in [SIGINT, SIGTERM] {
            // Order matters: the first signal finds the flag unset and only sets it.
            let status = 128 + signal;
            signal_hook::flag::register_conditional_shutdown(
                signal,
                status,
                Arc::clone(&requests.end),
            )?;
            signal_hook::flag::register(signal, Arc::clone(&requests.end))?;
        }
        signal_hook::flag::register(SIGUSR1, Arc::clone(&requests.stats))?;
        Ok(requests)
    }

    /// Whether the end was asked for.
    #[must_use]
    pub fn end(&self) -> bool {
        self.end.load(Ordering::Relaxed)
    }

    /// Asks for the end.
    pub fn ask_end(&self) {
        self.end.store(true, Ordering::Relaxed);
    }

    /// Whether statistics were asked for since the last call.
    #[must_use]
    pub fn take_stats(&self) -> bool {
        self.stats.swap(false, Ordering::Relaxed)
    }
}
