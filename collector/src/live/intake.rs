//! What a worker receives from: none, one or several sources, which may be changed while it runs. One
//! that breaks is let go of, and that is said; the worker goes on.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::capture::source::{FRAMES_MAX, Losses, Source};
use crate::capture::sys;

/// Where the vantage point leaves sources for a worker.
#[derive(Debug)]
pub struct Inlet<S> {
    ordered: Mutex<Option<Vec<S>>>,
    is_ordered: AtomicBool,
    failure: Mutex<Option<String>>,
}

impl<S> Default for Inlet<S> {
    fn default() -> Self {
        Self {
            ordered: Mutex::default(),
            is_ordered: AtomicBool::new(false),
            failure: Mutex::default(),
        }
    }
}

impl<S> Inlet<S> {
    /// Asks the worker to go on with these in place of those it has; it empties those first.
    pub fn order(&self, sources: Vec<S>) {
        *self.ordered.lock().unwrap_or_else(PoisonError::into_inner) = Some(sources);
        self.is_ordered.store(true, Ordering::Release);
    }

    /// Whether the worker has done so: nothing is left of what it had before.
    pub fn is_done(&self) -> bool {
        !self.is_ordered.load(Ordering::Acquire)
    }

    /// Why a source was let go of since this was last asked.
    pub fn take_failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What came in a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Frames.
    pub frames: usize,
    /// Whether a source may hold more.
    pub is_more: bool,
}

/// The worker's side.
pub struct Intake<S> {
    inlet: Arc<Inlet<S>>,
    sources: Vec<S>,
    /// What was lost on the way to sources that are gone.
    gone: Losses,
}

impl<S: Source> Intake<S> {
    /// Receives from these until others are ordered.
    pub fn new(inlet: Arc<Inlet<S>>, sources: Vec<S>) -> Self {
        Self { inlet, sources, gone: Losses::default() }
    }

    /// Hands the frames that are there to `take`, at most a batch of each source.
    pub fn receive(&mut self, mut take: impl FnMut(&[u8])) -> Received {
        let mut received = Received::default();
        let mut failure = None;
        self.sources.retain_mut(|source| match source.receive(&mut take) {
            Ok(frames) => {
                received.frames += frames;
                received.is_more |= frames == FRAMES_MAX;
                true
            }
            Err(error) => {
                failure = Some(error.to_string());
                self.gone.add(&source.losses().unwrap_or_default());
                false
            }
        });
        if failure.is_some() {
            *self.inlet.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
        }
        if received.frames == 0 && !self.inlet.is_done() {
            self.change();
        }
        received
    }

    fn change(&mut self) {
        for source in self.sources.drain(..) {
            self.gone.add(&source.losses().unwrap_or_default());
        }
        let ordered = self.inlet.ordered.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.sources = ordered.unwrap_or_default();
        self.inlet.is_ordered.store(false, Ordering::Release);
    }

    /// Waits until there are frames, `bell` is readable, or `timeout_ms` is over.
    ///
    /// # Errors
    /// Those of `poll`.
    pub fn wait(&self, bell: RawFd, timeout_ms: i32) -> io::Result<()> {
        let fds = self.sources.iter().map(Source::fd).chain([bell]);
        sys::wait_readable(fds, timeout_ms)
    }

    /// What was lost so far on the way to the worker.
    pub fn losses(&self) -> Losses {
        let mut losses = self.gone;
        self.sources
            .iter()
            .filter_map(|source| source.losses().ok())
            .for_each(|lost| losses.add(&lost));
        losses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some frames, then an error or silence.
    struct Few {
        frames: usize,
        fails: bool,
    }

    impl Source for Few {
        fn receive(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<usize> {
            let frames = std::mem::take(&mut self.frames);
            (0..frames).for_each(|_| take(&[]));
            if frames == 0 && self.fails { Err(io::Error::other("it is gone")) } else { Ok(frames) }
        }

        fn fd(&self) -> RawFd {
            -1
        }

        fn losses(&self) -> io::Result<Losses> {
            Ok(Losses { ring_full: 1, ..Losses::default() })
        }
    }

    fn frames(intake: &mut Intake<Few>) -> usize {
        intake.receive(|_| {}).frames
    }

    #[test]
    fn sources_are_emptied_before_they_are_changed_and_their_losses_stay() {
        let inlet = Arc::new(Inlet::default());
        let old = vec![Few { frames: 3, fails: false }, Few { frames: 2, fails: false }];
        let mut intake = Intake::new(Arc::clone(&inlet), old);
        inlet.order(vec![Few { frames: 7, fails: false }]);
        assert_eq!(frames(&mut intake), 5);
        assert!(!inlet.is_done());
        assert_eq!(frames(&mut intake), 0);
        assert!(inlet.is_done());
        assert_eq!((frames(&mut intake), intake.losses().ring_full), (7, 3));
    }

    #[test]
    fn a_source_that_breaks_is_let_go_of_and_told_once() {
        let inlet = Arc::new(Inlet::default());
        let mut intake = Intake::new(Arc::clone(&inlet), vec![Few { frames: 1, fails: true }]);
        assert_eq!((frames(&mut intake), inlet.take_failure()), (1, None));
        assert_eq!(frames(&mut intake), 0);
        assert_eq!(inlet.take_failure().as_deref(), Some("it is gone"));
        assert_eq!((frames(&mut intake), inlet.take_failure()), (0, None));
        assert_eq!(intake.losses().ring_full, 1);
    }
}
