//! One live worker's thread: takes frames, parses them, hands records to their owners, and observes
//! those that are its own.

use std::cell::Cell;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use xdpwatch_prog::head::Head;
use xdpwatch_prog::maps::INTERFACES_MAX;
use xdpwatch_prog::record::Record;
use xdpwatch_prog::wire::{self, Link, Parsed};

use super::evidence::Window;
use super::intake::{Intake, Received};
use super::outbox::Outbox;
use super::recorder::Recorder;
use super::shared::{Shared, Shown};
use crate::capture::source::Source;
use crate::evidence::history::History;
use crate::handoff::{DONE, Seat};
use crate::worker::Worker;

/// A frame may still be on its way from the program to the ring for this long, nanoseconds.
const IN_FLIGHT_NS: u64 = 1_000_000;

/// How long an empty ring is looked at before the thread sleeps, nanoseconds: waking up costs more than
/// that.
const SPIN_NS: u64 = 30_000;

/// Rounds after which staged records are sent even while frames keep coming.
const ROUNDS_PER_FLUSH: u32 = 8;

/// How often a worker's numbers are shown to others, nanoseconds.
const SHOW_INTERVAL_NS: u64 = 100_000_000;

/// Sleep while records are held back or were received lately, milliseconds: others wait for this
/// worker's progress.
const SHORT_SLEEP_MS: i32 = 1;

/// Sleep otherwise: the detector's tick. Frames and other workers' records end it.
const LONG_SLEEP_MS: i32 = 50;

/// How long after the last frame sleeps stay short, nanoseconds.
const LATELY_NS: u64 = 10_000_000;

/// A frame that comes in while a worker sleeps has woken it after this long, nanoseconds; what a
/// sleeper will still send was received later than this ago. One that takes longer is observed all
/// the same, out of order.
const WAKING_NS: u64 = 2_000_000;

/// A worker before its thread starts.
pub struct Lane<S> {
    /// Which worker of its vantage point this is.
    pub number: usize,
    /// Which interface of the vantage point its queues are of.
    pub place: usize,
    /// Where its frames come from.
    pub intake: Intake<S>,
    /// Its place in the exchange of records.
    pub seat: Seat,
    /// Its detector.
    pub worker: Worker,
    /// Where its outputs go.
    pub outbox: Arc<Outbox>,
    /// What it remembers for evidence, if it does, and where it is asked for it.
    pub evidence: Option<(History, Arc<Window>)>,
    /// Where its segments go to be compared, if they are.
    pub recorder: Option<Arc<Recorder>>,
    /// Where it shows its numbers.
    pub shown: Arc<Mutex<Shown>>,
    /// The rest.
    pub shared: Shared,
}

impl<S: Source> Lane<S> {
    /// Runs until it is stopped and everything received is observed.
    pub fn run(mut self) {
        let mut counts = Shown::default();
        let mut records = Vec::with_capacity(1 << 14);
        let result = self.capture(&mut counts, &mut records);
        counts.failure = result.err().map(|error| format!("waiting for frames failed: {error}"));
        // Even a broken worker must not keep the others waiting, and they go on until it is known.
        self.show(&mut counts);
        self.flush(DONE);
        while !self.seat.all_done() {
            self.observe(&mut records, self.shared.clock.now_ns());
            self.answer();
            std::thread::sleep(Duration::from_micros(200));
        }
        self.observe(&mut records, self.shared.clock.now_ns());
        self.worker.finish(self.shared.clock.now_ns());
        self.send_outputs(DONE);
        if let Some(saver) = self.shared.saver.get() {
            saver.add(self.worker.watch());
        }
        self.show(&mut counts);
        if let Some((history, window)) = self.evidence.take() {
            window.leave(history);
        }
    }

    fn capture(&mut self, counts: &mut Shown, records: &mut Vec<Record>) -> io::Result<()> {
        let (mut rounds, mut tuned) = (0, 0);
        let mut idle_since = None;
        self.show(counts);
        let mut show_ns = 0;
        let latest_ns = Cell::new(0);
        loop {
            let stopping = self.shared.stop.load(Ordering::Acquire);
            let looked_ns = self.shared.clock.now_ns();
            let received = self.receive(counts, &latest_ns);
            rounds += 1;
            if !received.is_more {
                // The rings are empty: what is not in them by now was seen after this.
                self.flush(looked_ns.saturating_sub(IN_FLIGHT_NS));
            } else if rounds % ROUNDS_PER_FLUSH == 0 {
                self.flush(latest_ns.get());
            }
            self.observe(records, looked_ns);
            self.answer();
            if looked_ns >= show_ns {
                show_ns = looked_ns + SHOW_INTERVAL_NS;
                self.show(counts);
                if let Some(detection) = self.shared.tuning.newer(&mut tuned) {
                    self.worker.retune(&detection);
                }
            }
            if received.frames > 0 {
                idle_since = None;
                continue;
            }
            if stopping {
                return Ok(());
            }
            let idle_ns = looked_ns - *idle_since.get_or_insert(looked_ns);
            if idle_ns < SPIN_NS {
                std::hint::spin_loop();
                continue;
            }
            self.sleep(idle_ns)?;
        }
    }

    /// Sends what is staged, and wakes those that it is for.
    fn flush(&mut self, progress_ns: u64) {
        let Self { seat, shared, recorder, .. } = self;
        if let Some(recorder) = recorder {
            recorder.reach(progress_ns);
        }
        seat.flush(progress_ns);
        seat.tell_sent(|to| shared.bells[to].ring());
    }

    /// Sleeps until there is something to do, after having been idle for so many nanoseconds.
    fn sleep(&mut self, idle_ns: u64) -> io::Result<()> {
        let awaited = self.seat.has_peers() && idle_ns < LATELY_NS;
        let bell = &self.shared.bells[self.number];
        if awaited || self.seat.is_holding() {
            return self.intake.wait(bell.as_raw_fd(), SHORT_SLEEP_MS);
        }
        bell.lie_down();
        // What was sent or asked before the others could see that it sleeps did not ring.
        let asked = self.evidence.as_ref().is_some_and(|(_, window)| window.is_asked());
        let result = match asked || self.seat.has_mail() {
            true => Ok(()),
            false => self.intake.wait(bell.as_raw_fd(), LONG_SLEEP_MS),
        };
        bell.get_up();
        result
    }

    /// Takes what is in the rings, at most one batch of each.
    fn receive(&mut self, counts: &mut Shown, latest_ns: &Cell<u64>) -> Received {
        let Self { place, intake, seat, shared, evidence, recorder, .. } = self;
        intake.receive(|bytes| {
            let Ok((head, frame)) = Head::split(bytes) else {
                counts.received[*place] += 1;
                counts.bad_heads[*place] += 1;
                return;
            };
            counts.received[usize::from(head.interface) % INTERFACES_MAX] += 1;
            let at_ns = shared.clock.at_ns(head.at_ns);
            latest_ns.set(latest_ns.get().max(at_ns));
            if let Some(headers) = &shared.headers {
                headers.put(head.interface, at_ns, head.frame_len, frame);
            }
            // By reference: moved, a record just written would have to be waited for.
            match &wire::parse(frame, head.frame_len, at_ns, Link::Ethernet) {
                Ok(Parsed { record, header_end }) if shared.wants_more() => {
                    if let Some((history, _)) = evidence {
                        let headers = &frame[..(*header_end).min(frame.len())];
                        history.put(record, Link::Ethernet, headers);
                    }
                    if let Some(recorder) = recorder {
                        recorder.put(record);
                    }
                    seat.give(record);
                }
                Ok(_) => {
                    counts.beyond_count += 1;
                    if let Some(recorder) = recorder {
                        recorder.end_at(at_ns);
                    }
                }
                Err(skip) => counts.skips.count(*skip),
            }
        })
    }

    /// Observes the records that are due at a time that is now or just passed, and lets time pass.
    fn observe(&mut self, records: &mut Vec<Record>, now_ns: u64) {
        if self.seat.has_peers() {
            self.vouch_for_sleepers(now_ns);
        }
        let reached_ns = self.seat.release(now_ns, records);
        self.worker.observe(records);
        records.clear();
        if reached_ns != DONE {
            self.worker.tick(reached_ns);
            self.send_outputs(reached_ns);
        }
    }

    /// Answers who asks for evidence.
    fn answer(&self) {
        if let Some((history, window)) = &self.evidence {
            window.answer(history);
        }
    }

    /// Nobody waits for workers that sleep: what they had was handed over before they lay down.
    fn vouch_for_sleepers(&self, now_ns: u64) {
        for (worker, bell) in self.shared.bells.iter().enumerate() {
            // The time was read before this was asked, so it slept then or had sent all.
            if worker != self.number && bell.is_asleep() {
                self.seat.vouch_for(worker, now_ns.saturating_sub(WAKING_NS));
            }
        }
    }

    fn send_outputs(&mut self, watermark_ns: u64) {
        let any = !self.worker.outputs.is_empty();
        for output in self.worker.outputs.drain(..) {
            self.outbox.put(output);
        }
        self.outbox.promise(watermark_ns);
        if let Some(aggregator) = self.shared.aggregator.get().filter(|_| any) {
            aggregator.unpark();
        }
    }

    fn show(&self, counts: &mut Shown) {
        counts.at = Some(Instant::now());
        counts.handoff_lost = self.seat.lost();
        counts.late = self.seat.late();
        counts.detector = self.worker.stats();
        counts.losses = self.intake.losses();
        *self.shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = counts.clone();
    }
}

impl<S> Drop for Lane<S> {
    /// A worker that panics must not keep the others waiting: they end, and so does the capture.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut shown = self.shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let broken = "it panicked, as said above; please report this defect";
            shown.failure = Some(format!("worker {} is broken: {broken}", self.number));
        }
        self.outbox.promise(DONE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::clock::Clock;
    use crate::capture::source::Losses;
    use crate::handoff::seats;
    use crate::live::bell::Bell;
    use crate::worker::FILE_SEEDS;
    use std::os::fd::RawFd;
    use std::sync::atomic::AtomicBool;
    use xdpwatch_core::detect::Limits;
    use xdpwatch_core::host::Hosts;

    /// No frames, and the second look may be the last.
    struct Fragile {
        breaks: bool,
        looks: u32,
    }

    impl Source for Fragile {
        fn receive(&mut self, _take: impl FnMut(&[u8])) -> io::Result<usize> {
            self.looks += 1;
            assert!(!self.breaks || self.looks < 2, "this panic belongs to the test");
            Ok(0)
        }

        fn fd(&self) -> RawFd {
            -1
        }

        fn losses(&self) -> io::Result<Losses> {
            Ok(Losses::default())
        }
    }

    /// Two workers: one that lasts, and one that does not.
    fn lanes(stop: &Arc<AtomicBool>) -> Vec<Lane<Fragile>> {
        let detection = crate::worker::Detection {
            max_tuples: 64,
            horizon_ns: 0,
            vlan_key: false,
            all_reuse: false,
            carries_data: false,
            hosts: Hosts::default(),
            limits: Limits::default(),
            group: Default::default(),
            seeds: FILE_SEEDS,
            batch: 64,
        };
        let shared = Shared {
            stop: Arc::clone(stop),
            left: None,
            headers: None,
            clock: Clock::start(),
            bells: (0..2).map(|_| Bell::new().unwrap()).collect(),
            aggregator: Arc::default(),
            saver: Arc::default(),
            tuning: Arc::default(),
        };
        let lane = |(number, seat)| Lane {
            number,
            place: 0,
            intake: Intake::new(Arc::default(), vec![Fragile { breaks: number == 1, looks: 0 }]),
            seat,
            worker: Worker::new(&detection, 2),
            outbox: Arc::new(Outbox::new()),
            evidence: None,
            recorder: None,
            shown: Arc::default(),
            shared: shared.clone(),
        };
        seats(2, true, 7).into_iter().enumerate().map(lane).collect()
    }

    #[track_caller]
    fn soon(what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_worker_that_breaks_says_so_and_keeps_nobody_waiting() {
        let stop = Arc::default();
        let lanes = lanes(&stop);
        let outboxes: Vec<_> = lanes.iter().map(|lane| Arc::clone(&lane.outbox)).collect();
        let shown: Vec<_> = lanes.iter().map(|lane| Arc::clone(&lane.shown)).collect();
        let threads: Vec<_> =
            lanes.into_iter().map(|lane| std::thread::spawn(|| lane.run())).collect();
        let told = |worker: usize| {
            let shown = shown[worker].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            shown.failure.clone()
        };
        soon("it does not say so", || told(1).is_some());
        let panicked = "it panicked, as said above; please report this defect";
        assert_eq!(told(1), Some(format!("worker 1 is broken: {panicked}")));
        stop.store(true, Ordering::Release);
        soon("they do not end", || threads.iter().all(|thread| thread.is_finished()));
        assert_eq!(told(0), None);
        assert!(outboxes.iter().all(|outbox| outbox.promised_ns() == DONE));
    }
}
