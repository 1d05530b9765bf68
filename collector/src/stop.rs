//! Signals: SIGINT and SIGTERM ask for an orderly end, SIGUSR1 for statistics, SIGHUP for the
//! configuration to be read again.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

use crate::args::Args;
use crate::config::reload::Reloader;

/// What signals have asked for.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    end: Arc<AtomicBool>,
    stats: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    reloader: Option<Arc<Mutex<Reloader>>>,
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

    /// Listens to SIGHUP too; without this it ends the process.
    ///
    /// # Errors
    /// Those of installing a signal handler.
    pub fn listen_to_reload(&mut self, reloader: Reloader) -> io::Result<()> {
        self.reloader = Some(Arc::new(Mutex::new(reloader)));
        signal_hook::flag::register(SIGHUP, Arc::clone(&self.reload)).map(|_| ())
    }

    /// Whether [`take_reload`](Self::take_reload) has something to do.
    #[must_use]
    pub fn is_reload_asked(&self) -> bool {
        self.reload.load(Ordering::Relaxed)
    }

    /// The configuration, if it was asked for since the last call to be read again, and is right.
    #[must_use]
    pub fn take_reload(&self) -> Option<Args> {
        let reloader = self.reloader.as_ref()?;
        let is_asked = self.reload.swap(false, Ordering::Relaxed);
        is_asked.then(|| reloader.lock().unwrap_or_else(PoisonError::into_inner).read())?
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
