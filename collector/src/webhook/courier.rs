//! One hook's thread: takes what waits in the spool in its order, tries, waits, tries again. It is
//! alone with its hook: a slow one delays no other, and never the spool.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::config::Hook;
use super::delivery::{Client, Outcome};
use super::message::Message;
use super::queue::{Entry, Queue, Room};
use super::retry::back_off;
use super::spool::{self, Spool};
use super::standing::{self, Standing as Stands};

/// What one hook's spool holds at most.
pub const ROOM: Room = Room { messages: 50_000, bytes: 256 << 20 };

/// Messages spooled at once.
const BATCH: usize = 256;

/// What became of one hook's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken by the other end.
    pub delivered: u64,
    /// Tries that failed and are repeated.
    pub retried: u64,
    /// Refused for good: they lie in the spool's `dead` folder.
    pub dead: u64,
    /// Given up because the spool was full.
    pub evicted: u64,
    /// Lost because they could not be written to the spool.
    pub unspooled: u64,
    /// Waiting now.
    pub waiting: u64,
}

impl Counts {
    /// Adds another hook's.
    pub fn add(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.retried += other.retried;
        self.dead += other.dead;
        self.evicted += other.evicted;
        self.unspooled += other.unspooled;
        self.waiting += other.waiting;
    }
}

/// What spool thread and courier share.
struct Shared {
    state: Mutex<State>,
    news: Condvar,
}

struct State {
    /// Whom to ask, and how.
    hook: Arc<Hook>,
    client: Arc<Client>,
    queue: Queue,
    /// The message being tried.
    busy: Option<u64>,
    counts: Counts,
    last_failure: Option<String>,
    is_ending: bool,
}

/// A hook with its spool and its thread.
pub struct Courier {
    hook: Arc<Hook>,
    spool: Spool,
    stands: Stands,
    /// Whether groups may stand that it was never told of: it came by a reload.
    pub is_late: bool,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// How a hook stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The hook's name.
    pub name: String,
    /// Where its spool is.
    pub dir: PathBuf,
    /// What became of its messages.
    pub counts: Counts,
    /// Why the last try failed, if it did.
    pub last_failure: Option<String>,
}

impl Courier {
    /// Opens the spool and starts delivering what waits there.
    ///
    /// # Errors
    /// The spool or the hook's TLS settings can't be used.
    pub fn start(hook: Hook, spool_dir: &std::path::Path) -> anyhow::Result<Self> {
        let client = Arc::new(Client::new(&hook)?);
        let (spool, waiting) = Spool::open(&spool_dir.join(&hook.folder))?;
        let stands = Stands::open(spool.dir(), &waiting).with_context(|| {
            format!("webhook spool {}: choose another with --spool-dir", spool.dir().display())
        })?;
        let hook = Arc::new(hook);
        let mut state = State {
            hook: Arc::clone(&hook),
            client,
            queue: Queue::default(),
            busy: None,
            counts: Counts::default(),
            last_failure: None,
            is_ending: false,
        };
        waiting.into_iter().for_each(|entry| state.queue.push(entry));
        let shared = Arc::new(Shared { state: Mutex::new(state), news: Condvar::new() });
        let run = Run { dir: spool.dir().to_owned(), shared: Arc::clone(&shared) };
        let thread = thread::Builder::new().name("webhook".to_owned()).spawn(move || run.run())?;
        Ok(Self { hook, spool, stands, is_late: false, shared, thread: Some(thread) })
    }

    /// Its hook.
    #[must_use]
    pub fn hook(&self) -> &Hook {
        &self.hook
    }

    /// The same spool is delivered in this way from the next try on.
    ///
    /// # Errors
    /// The hook's TLS settings can't be used; it goes on as before then.
    pub fn change(&mut self, hook: Hook) -> anyhow::Result<()> {
        let client = Arc::new(Client::new(&hook)?);
        self.hook = Arc::new(hook);
        let mut state = self.shared.lock();
        (state.hook, state.client) = (Arc::clone(&self.hook), client);
        Ok(())
    }

    /// Whether this message is for the hook: it wants it, or it is the end of what it was told of. The
    /// end of what a late one was never told of means nothing to it.
    fn takes(&self, message: &Message) -> bool {
        let is_wanted = self.hook.wants(message);
        if message.resolved {
            return self.stands.has(&message.key) || (is_wanted && !self.is_late);
        }
        is_wanted
    }

    /// Spools those of the messages that the hook wants. A message that waits already is left out:
    /// it came again because its file was read again.
    pub fn put(&mut self, messages: &[Message]) {
        let mut wanted = Vec::new();
        for message in messages {
            if !self.takes(message) {
                continue;
            }
            let Self { spool, shared, stands, .. } = self;
            let before = stands.note(message, |key| last(spool, shared, key));
            wanted.extend(before.into_iter().map(Cow::Owned));
            wanted.push(Cow::Borrowed(message));
        }
        self.spool(&wanted);
    }

    /// Tells the end of groups that stood when an earlier run was cut off, and of which this one has
    /// heard nothing.
    pub fn settle(&mut self) {
        let left = self.stands.take_left();
        for keys in left.chunks(BATCH) {
            let ends = keys.iter().filter_map(|key| last(&self.spool, &self.shared, key));
            let ends: Vec<_> = ends.map(|last| Cow::Owned(last.ended())).collect();
            self.spool(&ends);
        }
    }

    fn spool(&mut self, messages: &[Cow<'_, Message>]) {
        let wanted: Vec<&Message> = {
            let state = self.shared.lock();
            let is_new = |message: &&Message| !state.queue.contains(&message.id);
            messages.iter().map(|message| &**message).filter(is_new).collect()
        };
        if wanted.is_empty() {
            return;
        }
        let put = self.spool.put(&wanted);
        let mut state = self.shared.lock();
        match put {
            Ok(entries) => entries.into_iter().for_each(|entry| state.queue.push(entry)),
            Err(error) => {
                state.counts.unspooled += wanted.len() as u64;
                state.last_failure = Some(format!("writing to the spool: {error}"));
                tracing::error!("webhook {}: writing to the spool: {error}", self.hook.name);
            }
        }
        let busy = state.busy;
        let given_up = state.queue.make_room(ROOM, busy);
        state.counts.evicted += given_up.len() as u64;
        drop(state);
        self.shared.news.notify_all();
        for entry in &given_up {
            let _ = fs::remove_file(self.spool.path(entry));
            self.stands.given_up(entry);
        }
    }

    /// Ends it after the try it is in the middle of; what waits stays in the spool.
    pub fn dismiss(&self) {
        self.shared.lock().is_ending = true;
        self.shared.news.notify_all();
    }

    /// Waits until its thread has ended; says what it counted.
    #[must_use]
    pub fn end(mut self) -> Counts {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.standing().counts
    }

    /// Whether its thread has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let state = self.shared.lock();
        Standing {
            name: self.hook.name.clone(),
            dir: self.spool.dir().to_owned(),
            counts: Counts { waiting: state.queue.len() as u64, ..state.counts },
            last_failure: state.last_failure.clone(),
        }
    }

    /// Waits until nothing waits any more, at most until `deadline`; then ends the thread, unless it
    /// is in the middle of a try: that ends with the process, and the message stays in the spool.
    pub fn close(&mut self, deadline: Instant) -> Standing {
        let mut state = self.shared.lock();
        while !state.queue.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.shared.wait(state, left);
        }
        state.is_ending = true;
        let is_idle = state.busy.is_none();
        drop(state);
        self.shared.news.notify_all();
        if is_idle && let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.standing()
    }
}

/// The last message of this key: it waits, or it was delivered and stands.
fn last(spool: &Spool, shared: &Shared, key: &str) -> Option<Message> {
    let waiting = shared.lock().queue.last(key).map(|entry| spool.path(entry));
    // Delivered in this moment, it stands.
    let waiting = waiting.and_then(|path| spool::read(&path).ok());
    waiting.or_else(|| standing::last(spool.dir(), key))
}

impl Shared {
    /// A panic elsewhere does not make the bookkeeping wrong.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, most: Duration) -> MutexGuard<'a, State> {
        self.news.wait_timeout(state, most).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// The thread's side.
struct Run {
    dir: PathBuf,
    shared: Arc<Shared>,
}

impl Run {
    fn run(&self) {
        // Failures in a row, of whichever message: a dead endpoint is not asked once per message.
        let mut failures = 0;
        let mut not_before = Instant::now();
        while let Some((entry, hook, client)) = self.next(not_before) {
            let outcome = self.attempt(&entry, &hook, &client);
            let mut state = self.shared.lock();
            state.busy = None;
            match outcome {
                Ok(Outcome::Failed { reason, wait }) => {
                    failures += 1;
                    let (min, max) = hook.retry;
                    let pause = back_off(failures, min, max).max(wait.unwrap_or_default());
                    not_before = Instant::now() + pause;
                    tracing::debug!("webhook {}: {reason}; again in {pause:?}", hook.name);
                    state.queue.failed(entry.seq);
                    state.counts.retried += 1;
                    state.last_failure = Some(reason);
                }
                Ok(Outcome::Delivered { .. }) => {
                    failures = 0;
                    state.queue.remove(entry.seq);
                    state.counts.delivered += 1;
                }
                Ok(Outcome::Refused { reason }) => {
                    failures = 0;
                    tracing::warn!("webhook {}: refused for good: {reason}", hook.name);
                    state.queue.remove(entry.seq);
                    state.counts.dead += 1;
                    state.last_failure = Some(reason);
                }
                // The spool's own trouble: what can't be handled on disk must not spin.
                Err(error) => {
                    failures += 1;
                    let (min, max) = hook.retry;
                    not_before = Instant::now() + back_off(failures, min, max);
                    tracing::error!("webhook {}: the spool: {error}", hook.name);
                    state.queue.failed(entry.seq);
                    state.last_failure = Some(format!("the spool: {error}"));
                }
            }
            drop(state);
            self.shared.news.notify_all();
        }
    }

    /// The next message, when there is one and it is time, and whom to tell; none at the end.
    fn next(&self, not_before: Instant) -> Option<(Entry, Arc<Hook>, Arc<Client>)> {
        let mut state = self.shared.lock();
        loop {
            if state.is_ending {
                return None;
            }
            let pause = not_before.saturating_duration_since(Instant::now());
            if pause.is_zero()
                && let Some(entry) = state.queue.next().cloned()
            {
                state.busy = Some(entry.seq);
                return Some((entry, Arc::clone(&state.hook), Arc::clone(&state.client)));
            }
            let most = if pause.is_zero() { Duration::from_secs(60) } else { pause };
            state = self.shared.wait(state, most);
        }
    }

    /// One try, and what follows from it on disk: the file goes before the message is forgotten.
    fn attempt(&self, entry: &Entry, hook: &Hook, client: &Client) -> io::Result<Outcome> {
        let path = self.dir.join(spool::name(entry));
        let message = match spool::read(&path) {
            Ok(message) => message,
            // Of these three kinds are the JSON parser's complaints.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidData
                        | io::ErrorKind::UnexpectedEof
                        | io::ErrorKind::InvalidInput
                ) =>
            {
                let reason = format!("the spooled file is damaged: {error}");
                spool::bury(&path, &reason)?;
                return Ok(Outcome::Refused { reason });
            }
            Err(error) => return Err(error),
        };
        let outcome = client.send(hook, &message);
        match &outcome {
            Outcome::Delivered { .. } => standing::delivered(&self.dir, entry, &path)?,
            Outcome::Refused { reason } => {
                if entry.resolved {
                    standing::forget(&self.dir, entry)?;
                }
                spool::bury(&path, reason)?;
            }
            Outcome::Failed { .. } => {}
        }
        Ok(outcome)
    }
}
