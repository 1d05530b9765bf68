//! The thread that gathers the segments of all workers for the next round of a comparison, so that they
//! find room while a round is being worked on. What it has no room for is counted, and makes that time
//! doubtful.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::recorder::Recorder;
use crate::capture::clock::Clock;
use crate::compare::rounds::{Window, doubt};

/// How long it rests: a queue holds more than comes in that time.
const PAUSE: Duration = Duration::from_millis(20);

/// The workers' recorders, by interface.
pub type Recorders = [Vec<Arc<Recorder>>; 2];

/// What is gathered, and the thread that does it.
#[derive(Debug)]
pub struct Gathering {
    window: Arc<Mutex<Window>>,
    recorders: Recorders,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The thread's part.
struct Gatherer {
    recorders: Recorders,
    window: Arc<Mutex<Window>>,
    clock: Clock,
    /// Segments of each interface that may wait.
    places: usize,
    /// What the recorders had lost before.
    lost: [u64; 2],
    reached_ns: u64,
}

impl Gathering {
    /// Starts the thread.
    ///
    /// # Errors
    /// It can't be started.
    pub fn start(recorders: Recorders, clock: Clock, places: usize) -> std::io::Result<Self> {
        let (window, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let mut gatherer = Gatherer {
            recorders: recorders.clone(),
            window: Arc::clone(&window),
            clock,
            places,
            lost: [0; 2],
            reached_ns: clock.now_ns(),
        };
        let stopped = Arc::clone(&stop);
        let run = move || {
            loop {
                let is_last = stopped.load(Ordering::Acquire);
                gatherer.gather();
                if is_last {
                    return;
                }
                thread::sleep(PAUSE);
            }
        };
        let thread = Some(thread::Builder::new().name("gather".to_owned()).spawn(run)?);
        Ok(Self { window, recorders, stop, thread })
    }

    /// Segments gathered of the interface that has more of them.
    pub fn len(&self) -> usize {
        lock(&self.window).sights.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Takes what is gathered.
    pub fn take(&self) -> Window {
        let mut window = lock(&self.window);
        let reached_ns = window.reached_ns;
        std::mem::replace(&mut window, Window { reached_ns, ..Window::default() })
    }

    /// From when on nothing was taken any more, if enough was taken before the end.
    pub fn end_ns(&self) -> u64 {
        let all = self.recorders.iter().flatten();
        all.map(|recorder| recorder.end_ns()).min().unwrap_or(u64::MAX)
    }

    /// Gathers the rest, once all workers have ended.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // What it gathered is there, whatever became of it.
            let _ = thread.join();
        }
    }
}

impl Gatherer {
    fn gather(&mut self) {
        let all = self.recorders.iter().flatten();
        let reached_ns = all.map(|recorder| recorder.reached_ns()).min().unwrap_or(0);
        let mut window = lock(&self.window);
        for (point, recorders) in self.recorders.iter().enumerate() {
            let sights = &mut window.sights[point];
            let mut unplaced = 0;
            for sight in recorders.iter().flat_map(|recorder| recorder.take()) {
                if sights.len() < self.places {
                    sights.push(sight);
                } else {
                    unplaced += 1;
                }
            }
            let lost = recorders.iter().map(|recorder| recorder.lost()).sum();
            unplaced += lost - std::mem::replace(&mut self.lost[point], lost);
            if unplaced > 0 {
                window.not_compared += unplaced;
                doubt(&mut window.doubts[point], (self.reached_ns, self.clock.now_ns()));
            }
        }
        window.reached_ns = reached_ns;
        self.reached_ns = reached_ns;
    }
}

fn lock(window: &Mutex<Window>) -> MutexGuard<'_, Window> {
    window.lock().unwrap_or_else(PoisonError::into_inner)
}
