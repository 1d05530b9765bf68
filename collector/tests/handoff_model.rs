//! The hand-off between workers and the sleep of workers under loom: every order in which two threads
//! can meet, weak memory included. The code is the sensor's own, built from loom's parts; crossbeam's
//! queue, which is not ours, is a locked one here.

#[path = "../src/handoff.rs"]
#[allow(dead_code, reason = "the model needs only a part of it")]
mod handoff;
#[path = "../src/live/sleeper.rs"]
#[allow(dead_code, reason = "the model needs only a part of it")]
mod sleeper;

use xdpwatch_core::watch::owner;
use xdpwatch_prog::record::Record;

use concurrent::{Arc, AtomicBool, Ordering};
use handoff::{DONE, seats_around};
use sleeper::Sleeper;

/// Loom's parts for those of `src/concurrent.rs`.
mod concurrent {
    use std::collections::VecDeque;
    use std::ops::Deref;

    pub use loom::sync::Arc;
    pub use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

    #[derive(Debug)]
    pub struct ArrayQueue<T> {
        queue: loom::sync::Mutex<VecDeque<T>>,
        places: usize,
    }

    impl<T> ArrayQueue<T> {
        pub fn new(places: usize) -> Self {
            Self { queue: loom::sync::Mutex::new(VecDeque::new()), places }
        }

        pub fn push(&self, item: T) -> Result<(), T> {
            let mut queue = self.queue.lock().unwrap();
            if queue.len() >= self.places {
                return Err(item);
            }
            queue.push_back(item);
            Ok(())
        }

        pub fn pop(&self) -> Option<T> {
            self.queue.lock().unwrap().pop_front()
        }

        pub fn is_empty(&self) -> bool {
            self.queue.lock().unwrap().is_empty()
        }
    }

    #[derive(Debug)]
    pub struct CachePadded<T>(T);

    impl<T> CachePadded<T> {
        pub fn new(value: T) -> Self {
            Self(value)
        }
    }

    impl<T> Deref for CachePadded<T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.0
        }
    }
}

/// Enough for every meeting of two threads that a defect of this kind needs.
fn model(work: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(work);
}

fn record(at_ns: u64, src_port: u16) -> Record {
    Record { at_ns, src_port, dst_port: 80, ..Record::default() }
}

/// A port whose tuple worker `to` of two owns.
fn port_of(to: usize) -> u16 {
    (1..).find(|port| owner(&record(0, *port), 7, 2) == to).unwrap()
}

#[test]
fn what_a_worker_says_to_have_handed_over_is_there() {
    model(|| {
        let mut seats = seats_around(2, 2, 7).into_iter();
        let (Some(mut a), Some(mut b)) = (seats.next(), seats.next()) else { panic!("two") };
        let mine = port_of(0);
        let giver = loom::thread::spawn(move || {
            b.give(&record(10, mine));
            b.flush(15);
            b.give(&record(20, mine));
            b.flush(DONE);
        });
        let mut seen = Vec::new();
        a.give(&record(12, mine));
        a.give(&record(25, mine));
        a.flush(DONE);
        // Whatever it sees of the other's progress: nothing earlier comes after what is released.
        a.release(0, &mut seen);
        giver.join().unwrap();
        assert!(a.all_done());
        a.release(0, &mut seen);
        let times: Vec<u64> = seen.iter().map(|record| record.at_ns).collect();
        assert_eq!((times.as_slice(), a.late(), a.lost()), (&[10, 12, 20, 25][..], 0, 0));
    });
}

#[test]
fn a_worker_that_leaves_keeps_nobody_waiting() {
    model(|| {
        let mut seats = seats_around(2, 1, 7).into_iter();
        let (Some(mut a), Some(mut b)) = (seats.next(), seats.next()) else { panic!("two") };
        let leaving = loom::thread::spawn(move || {
            b.give(&record(10, port_of(0)));
            b.flush(10);
        });
        a.flush(DONE);
        leaving.join().unwrap();
        let mut seen = Vec::new();
        assert!(a.all_done());
        a.release(0, &mut seen);
        assert_eq!(seen.len(), 1);
    });
}

/// The sleeper looks once more after it lay down; the sender rings after it sent. What is sent is a
/// flag here: a locked queue would put in order what the fences must.
#[test]
fn nobody_sleeps_through_what_was_sent() {
    model(|| {
        let sleeper = Arc::new(Sleeper::new());
        let sent = Arc::new(AtomicBool::new(false));
        let sender = {
            let (sleeper, sent) = (Arc::clone(&sleeper), Arc::clone(&sent));
            loom::thread::spawn(move || {
                sent.store(true, Ordering::Release);
                sleeper.must_wake()
            })
        };
        sleeper.lie_down();
        let looked = sent.load(Ordering::Acquire);
        let rung = sender.join().unwrap();
        assert!(looked || rung, "asleep, something was sent, and nobody rang");
        assert_eq!(sleeper.get_up(), rung);
    });
}
