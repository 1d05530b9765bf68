//! Records on their way between workers: in order, counted when lost, waited for no longer than said.

use xdpwatch::handoff::{DONE, Seat, WAIT_NS, seats, seats_around};
use xdpwatch_core::watch::owner;
use xdpwatch_prog::record::Record;

/// A record at `at_ns` whose owner depends on `port`.
fn record(at_ns: u64, port: u16) -> Record {
    Record { at_ns, src_port: port, dst_port: 80, ..Record::default() }
}

/// A port whose tuple worker `to` of two owns.
fn port_of(to: usize) -> u16 {
    (1..).find(|port| owner(&record(0, *port), 7, 2) == to).unwrap()
}

#[test]
fn an_answer_never_overtakes_its_syn() {
    let mut seats = seats(2, true, 7);
    let (mut b, mut a) = (seats.pop().unwrap(), seats.pop().unwrap());
    let mine = port_of(0);
    let base = 1_000_000_000;
    let mut out = Vec::new();
    // The answer arrives at the owner's own queue; the SYN, earlier, at the other worker's.
    a.give(&record(base + 20, mine));
    a.flush(base + 20);
    a.tell_sent(|to| panic!("{to} was sent nothing"));
    a.release(base + 30, &mut out);
    assert_eq!(out, [], "the other worker has not passed that time");
    b.give(&record(base + 10, mine));
    assert!(!a.has_mail());
    b.flush(base + 25);
    let mut told = Vec::new();
    b.tell_sent(|to| told.push(to));
    b.tell_sent(|to| told.push(to));
    assert_eq!((told, a.has_mail()), (vec![0], true), "told once");
    a.release(base + 40, &mut out);
    assert_eq!(out.iter().map(|r| r.at_ns - base).collect::<Vec<_>>(), [10, 20]);
    assert_eq!((a.late(), a.lost(), b.lost()), (0, 0, 0));
}

#[test]
fn a_silent_worker_is_waited_for_a_while_only() {
    let mut seats = seats(2, true, 7);
    let (mut b, mut a) = (seats.pop().unwrap(), seats.pop().unwrap());
    let (mine, base) = (port_of(0), 1_000_000_000);
    let mut out = Vec::new();
    a.give(&record(base, mine));
    a.flush(base);
    a.release(base + WAIT_NS, &mut out);
    assert_eq!(out.len(), 1);
    b.give(&record(base - 5, mine));
    b.flush(base);
    a.release(base + WAIT_NS + 1, &mut out);
    assert_eq!((out.len(), a.late()), (2, 1), "late, counted, not lost");
}

#[test]
fn a_sleeping_worker_is_not_waited_for() {
    let mut seats = seats(2, true, 7);
    let (_b, mut a) = (seats.pop().unwrap(), seats.pop().unwrap());
    let (mine, base) = (port_of(0), 1_000_000_000);
    let mut out = Vec::new();
    a.give(&record(base, mine));
    a.flush(base + 1);
    a.vouch_for(1, base - 1);
    a.release(base + 1, &mut out);
    assert_eq!(out, [], "not vouched for that time");
    a.vouch_for(1, base + 1);
    a.release(base + 1, &mut out);
    assert_eq!(out.len(), 1);
}

#[test]
fn a_full_ring_loses_and_counts() {
    let mut seats = seats(2, true, 7);
    let (b, mut a) = (seats.pop().unwrap(), seats.pop().unwrap());
    let theirs = port_of(1);
    let mut places = 0;
    while !a.is_congested() {
        a.give(&record(places, theirs));
        places += 1;
    }
    assert!(places > 1000 && a.lost() == 0, "{places} places");
    (0..100).for_each(|n| a.give(&record(places + n, theirs)));
    assert_eq!(a.lost(), 100);
    drop(b);
}

#[test]
fn owners_by_queue_exchange_nothing() {
    let mut seats = seats(2, false, 7);
    let mut out = Vec::new();
    let seat = &mut seats[1];
    seat.give(&record(5, port_of(0)));
    seat.flush(6);
    seat.release(6, &mut out);
    assert_eq!((out.len(), seat.has_peers()), (1, false));
}

/// Two threads, each receiving what the other owns, for as long as it takes.
#[test]
fn each_tuple_keeps_its_order_and_nothing_is_lost_where_both_wait() {
    const RECORDS: u64 = 200_000;
    const TUPLES: u64 = 64;
    let work = |mut seat: Seat, theirs: Vec<u16>| {
        let (mut due, mut seen) = (Vec::new(), Vec::new());
        for n in 0..RECORDS {
            while seat.is_congested() {
                seat.release(0, &mut due);
                std::thread::yield_now();
            }
            let port = theirs[(n % TUPLES) as usize];
            seat.give(&Record { seq: n as u32, ..record(n / 3, port) });
            if n % 97 == 0 {
                seat.flush(n / 3);
                seat.release(0, &mut due);
            }
        }
        seat.flush(DONE);
        while !seat.all_done() {
            seat.release(0, &mut due);
            std::thread::yield_now();
        }
        seat.release(0, &mut due);
        seen.append(&mut due);
        assert_eq!((seat.lost(), seat.late()), (0, 0));
        seen
    };
    let ports = |to| (1u16..).filter(move |port| owner(&record(0, *port), 7, 2) == to);
    let mut seats = seats_around(2, 4, 7).into_iter();
    let (Some(a), Some(b)) = (seats.next(), seats.next()) else { panic!("two seats") };
    let theirs = |to| ports(to).take(TUPLES as usize).collect();
    let (a, b) = std::thread::scope(|scope| {
        let a = scope.spawn(|| work(a, theirs(1)));
        let b = scope.spawn(|| work(b, theirs(0)));
        (a.join().unwrap(), b.join().unwrap())
    });
    for seen in [a, b] {
        assert_eq!(seen.len() as u64, RECORDS);
        assert!(seen.is_sorted_by_key(|record| record.at_ns), "in order of time");
        assert!(seen.is_sorted_by_key(|record| record.seq), "and within each tuple");
    }
}

#[test]
fn time_does_not_pass_what_lies_unread_in_the_own_ring() {
    let mut seats = seats(1, true, 7);
    let mut alone = seats.pop().unwrap();
    let (port, base) = (port_of(0), 1_000_000_000);
    let mut out = Vec::new();
    // The processor was taken from it for a second, and frames came meanwhile.
    alone.give(&record(base, port));
    alone.flush(base);
    assert_eq!(alone.release(base + 20 * WAIT_NS, &mut out), base, "so far it has read");
    alone.give(&record(base + 1, port));
    alone.flush(base + 1);
    alone.release(base + 20 * WAIT_NS, &mut out);
    assert_eq!((out.len(), alone.late()), (2, 0));
}
