//! Evidence in live capture: between aggregator and reporter, a thread that asks every worker for the
//! headers of a finding's tuples, and behind it one that writes files, so that neither a worker nor an
//! alert ever waits for a disk.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;
use xdpwatch_core::finding::Finding;
use xdpwatch_core::tuple::Tuple;

use super::bell::Bell;
use super::{Told, aggregator};
use crate::evidence::history::{History, Packet};
use crate::evidence::{Archive, Clerk, Document};

/// Questions that may wait for a worker.
const QUESTIONS: usize = 8;

/// Files that may wait for the disk.
const DOCUMENTS: usize = 256;

/// The longest that one finding waits for the workers.
const PATIENCE: Duration = Duration::from_millis(20);

/// Findings behind one another beyond which they go on without evidence, to keep their pace.
const BACKLOG: usize = 64;

/// How often files that are too old are looked for.
const TIDY: Duration = Duration::from_secs(60);

/// For headers of these tuples, seen not after that time.
struct Question {
    tuples: Vec<Tuple>,
    end_ns: u64,
    answer: SyncSender<Vec<Packet>>,
}

/// Where a worker is asked. Its history stays its own until it ends.
pub struct Window {
    questions: ArrayQueue<Question>,
    left: Mutex<Option<History>>,
}

impl Window {
    /// For a worker that has not begun.
    pub fn new() -> Self {
        Self { questions: ArrayQueue::new(QUESTIONS), left: Mutex::default() }
    }

    /// Whether anybody waits for an answer.
    pub fn is_asked(&self) -> bool {
        !self.questions.is_empty()
    }

    /// The worker answers what was asked; cheap if nothing was.
    pub fn answer(&self, history: &History) {
        while let Some(Question { tuples, end_ns, answer }) = self.questions.pop() {
            let found = tuples.iter().flat_map(|tuple| history.find(tuple, end_ns)).collect();
            // Whoever asked may have given up waiting.
            let _ = answer.try_send(found);
        }
    }

    /// The worker ends and leaves its history to whoever asks still.
    pub fn leave(&self, history: History) {
        self.answer(&history);
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(history);
    }
}

/// One vantage point's stage between aggregator and reporter.
pub struct Stage {
    /// The workers.
    pub windows: Vec<Arc<Window>>,
    /// What wakes them, in the same order.
    pub bells: Arc<[Bell]>,
    /// Who makes the files.
    pub clerk: Clerk,
    /// Where files go.
    pub files: SyncSender<Document>,
    /// Where findings go.
    pub tell: SyncSender<Told>,
    /// Where findings that find no place there are counted.
    pub shown: Arc<aggregator::Shown>,
}

impl Stage {
    /// Passes findings on until there are no more to come.
    pub fn run(mut self, told: &Receiver<Told>) {
        let mut waiting = VecDeque::new();
        while let Some((vantage, mut finding)) = waiting.pop_front().or_else(|| told.recv().ok()) {
            waiting.extend(told.try_iter());
            let tuples = self.clerk.tuples(&mut finding);
            if !tuples.is_empty() {
                if waiting.len() > BACKLOG {
                    self.clerk.archive().skip();
                } else {
                    self.attend(&mut finding, &tuples);
                }
            }
            if self.tell.try_send((vantage, finding)).is_err() {
                self.shown.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn attend(&mut self, finding: &mut Finding, tuples: &[Tuple]) {
        let seen = ask(&self.windows, &self.bells, tuples, finding.at_ns);
        let Some(document) = self.clerk.document(finding, seen) else { return };
        if self.files.try_send(document).is_err() {
            finding.evidence = None;
            self.clerk.archive().skip();
        }
    }
}

/// What the workers remember of these tuples.
fn ask(windows: &[Arc<Window>], bells: &[Bell], tuples: &[Tuple], end_ns: u64) -> Vec<Packet> {
    let (answer, answers) = sync_channel(windows.len());
    let mut packets = Vec::new();
    for (window, bell) in windows.iter().zip(bells) {
        let left = window.left.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(history) = left.as_ref() {
            packets.extend(tuples.iter().flat_map(|tuple| history.find(tuple, end_ns)));
            continue;
        }
        let question = Question { tuples: tuples.to_vec(), end_ns, answer: answer.clone() };
        // A worker that is that far behind has other worries.
        let _ = window.questions.push(question);
        bell.ring();
    }
    drop(answer);
    let until = Instant::now() + PATIENCE;
    while let Ok(found) = answers.recv_timeout(until.saturating_duration_since(Instant::now())) {
        packets.extend(found);
    }
    packets
}

/// The thread that writes files, for all vantage points.
pub struct Files {
    thread: JoinHandle<()>,
}

impl Files {
    /// Starts it. It ends when nobody can send it anything any more.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub fn start(archive: Arc<Archive>) -> std::io::Result<(Self, SyncSender<Document>)> {
        let (send, documents) = sync_channel(DOCUMENTS);
        let run = move || write_files(&archive, &documents);
        let thread = thread::Builder::new().name("evidence-files".to_owned()).spawn(run)?;
        Ok((Self { thread }, send))
    }

    /// Waits until everything is written.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::warn!("the thread that writes evidence failed");
        }
    }
}

fn write_files(archive: &Archive, documents: &Receiver<Document>) {
    loop {
        match documents.recv_timeout(TIDY) {
            Ok(document) => archive.put(&document),
            Err(RecvTimeoutError::Timeout) => archive.tidy(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::sys;
    use crate::evidence::frame;
    use crate::evidence::history::Keep;
    use std::os::fd::AsRawFd;
    use xdpwatch_prog::record::{Record, flags};

    fn history(at_ns: u64) -> (History, Tuple) {
        let addr = std::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets();
        let ends = Record { src_addr: addr, dst_addr: addr, src_port: 7, ..Record::default() };
        let record = Record { at_ns, flags: flags::SYN, ..ends };
        let mut history = History::new(8, 0, Keep::All, 1);
        let packet = frame::packet(&record);
        history.put(&record, packet.link, &packet.bytes);
        (history, Tuple::of(&record, false).0)
    }

    #[test]
    fn a_question_wakes_a_worker_that_sleeps() {
        let (window, bells) = (Arc::new(Window::new()), [Bell::new().unwrap()]);
        bells[0].lie_down();
        thread::scope(|scope| {
            scope.spawn(|| ask(&[Arc::clone(&window)], &bells, &[], 0));
            let began = Instant::now();
            sys::wait_readable([bells[0].as_raw_fd()], 5000).unwrap();
            assert!(began.elapsed() < Duration::from_secs(4));
            assert!(window.is_asked());
        });
    }

    #[test]
    fn a_worker_answers_while_it_runs_and_after_it_has_ended() {
        let window = Arc::new(Window::new());
        let (history, tuple) = history(5000);
        let (answer, answers) = sync_channel(1);
        let question = || Question { tuples: vec![tuple], end_ns: 6000, answer: answer.clone() };
        assert!(window.questions.push(question()).is_ok());
        window.answer(&history);
        assert_eq!(answers.recv().unwrap().len(), 1);
        assert!(window.questions.push(question()).is_ok());
        window.leave(history);
        assert_eq!(answers.recv().unwrap().len(), 1, "asked just before the end");
        let left = window.left.lock().unwrap();
        assert_eq!(left.as_ref().unwrap().find(&tuple, 6000).len(), 1);
    }
}
