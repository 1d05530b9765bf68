//! What must hold for any input: no panic, bounded tables, and no false alarm from a mirror that
//! copies or reorders. Failures print the input that shrank to them.

use proptest::prelude::*;
use xdpwatch_core::finding::Finding;
use xdpwatch_core::watch::{Config, Kind, Output, Watch};
use xdpwatch_prog::record::{Record, flags, marks};

const SECOND_NS: u64 = 1_000_000_000;
const BEGIN_NS: u64 = 1_700_000_000 * SECOND_NS;

fn watch(max_tuples: usize, all_reuse: bool) -> Watch {
    Watch::new(Config { max_tuples, all_reuse, seeds: [5, 6, 7, 8], ..Config::default() })
}

fn findings(out: Vec<Output>) -> Vec<Finding> {
    out.into_iter()
        .filter_map(|output| match output.kind {
            Kind::Finding(finding) => Some(*finding),
            _ => None,
        })
        .collect()
}

fn address(last: u8) -> [u8; 16] {
    let mut address = [0; 16];
    address[10..].copy_from_slice(&[0xff, 0xff, 10, 0, 0, last]);
    address
}

/// Any segment between few ends, so that tuples meet themselves often.
fn any_record() -> impl Strategy<Value = Record> {
    let numbers = prop_oneof![0u32..3000, any::<u32>()];
    (
        (0u8..3, 0u8..3, 0u16..3, any::<u8>(), any::<bool>()),
        (numbers.clone(), numbers.clone(), numbers.clone(), numbers, 0u32..2000),
        (any::<u16>(), any::<u16>(), 0u8..16, 0u64..70 * SECOND_NS),
    )
        .prop_map(|(ends, numbers, rest)| {
            let (src, dst, port, tcp_flags, is_v6) = ends;
            let (seq, ack, ts_val, ts_ecr, payload_len) = numbers;
            let (window, some_marks, window_scale, gap_ns) = rest;
            let mut record = Record {
                at_ns: gap_ns,
                src_addr: address(src),
                dst_addr: address(dst + 3),
                src_port: 1000 + port,
                dst_port: 80,
                seq,
                ack,
                ts_val,
                ts_ecr,
                payload_len,
                window,
                window_scale,
                flags: tcp_flags,
                marks: some_marks & !marks::IPV6,
                ..Record::default()
            };
            if is_v6 {
                record.src_addr[0] = 0x20;
                record.dst_addr[0] = 0x20;
                record.marks |= marks::IPV6;
            }
            if tcp_flags & 0x80 != 0 {
                std::mem::swap(&mut record.src_addr, &mut record.dst_addr);
                std::mem::swap(&mut record.src_port, &mut record.dst_port);
            }
            record
        })
}

/// A healthy connection: handshake, a little data, a close by either end.
fn connection(port: u16, server_closes: bool, isn: u32, ts_val: u32, begin_ns: u64) -> Vec<Record> {
    let mut at_ns = begin_ns;
    let (mut client_next, mut server_next) = (isn, isn.wrapping_mul(7));
    let mut segments = Vec::new();
    let mut send = |from_client: bool, tcp_flags: u8, payload_len: u32| {
        at_ns += 2_000_000;
        let (seq, ack) =
            if from_client { (client_next, server_next) } else { (server_next, client_next) };
        let clock = ts_val.wrapping_add(((at_ns - begin_ns) / 1_000_000) as u32);
        let mut record = Record {
            at_ns,
            src_addr: address(1),
            dst_addr: address(2),
            src_port: port,
            dst_port: 80,
            seq,
            ack: if tcp_flags & flags::ACK == 0 { 0 } else { ack },
            flags: tcp_flags,
            payload_len,
            ts_val: clock,
            ts_ecr: 1,
            window: 500,
            marks: marks::TIMESTAMPS,
            ..Record::default()
        };
        if !from_client {
            std::mem::swap(&mut record.src_addr, &mut record.dst_addr);
            std::mem::swap(&mut record.src_port, &mut record.dst_port);
        }
        let next = if from_client { &mut client_next } else { &mut server_next };
        *next = next.wrapping_add(record.sequence_len());
        segments.push(record);
    };
    send(true, flags::SYN, 0);
    send(false, flags::SYN | flags::ACK, 0);
    send(true, flags::ACK, 0);
    send(true, flags::ACK | flags::PSH, 100);
    send(false, flags::ACK | flags::PSH, 1000);
    send(true, flags::ACK, 0);
    send(!server_closes, flags::FIN | flags::ACK, 0);
    send(server_closes, flags::ACK, 0);
    send(server_closes, flags::FIN | flags::ACK, 0);
    send(!server_closes, flags::ACK, 0);
    segments
}

/// Connection after connection on one tuple, with a clock that goes on: every reuse is accepted.
fn healthy(reuses: u16, server_closes: bool) -> Vec<Record> {
    (0..u32::from(reuses))
        .flat_map(|n| {
            let begin_ns = BEGIN_NS + u64::from(n) * 2 * SECOND_NS;
            let isn = 1_000_000u32.wrapping_add(n.wrapping_mul(40_000_000));
            connection(40_000, server_closes, isn, 500_000 + n * 2000, begin_ns)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    #[test]
    fn nothing_panics_and_nothing_grows(mut records in prop::collection::vec(any_record(), 1..400)) {
        let mut watch = watch(64, true);
        let mut at_ns = BEGIN_NS;
        for record in &mut records {
            at_ns += record.at_ns;
            record.at_ns = at_ns;
        }
        let mut out = Vec::new();
        watch.observe(&records, &mut out);
        watch.finish(at_ns, &mut out);
        let occupancy = watch.occupancy();
        prop_assert!(occupancy.used() <= occupancy.capacity);
        prop_assert!(out.is_sorted_by_key(|output| output.at_ns), "outputs go back in time");
        let mut resolved = Vec::new();
        for finding in findings(out) {
            let is_resolved = finding.state == xdpwatch_core::finding::State::Resolved;
            prop_assert!(!resolved.contains(&finding.id), "something follows a resolution");
            resolved.extend(is_resolved.then_some(finding.id));
        }
    }

    #[test]
    fn batches_change_nothing(records in prop::collection::vec(any_record(), 1..200)) {
        let mut at_ns = BEGIN_NS;
        let records: Vec<Record> = records
            .into_iter()
            .map(|record| {
                at_ns += record.at_ns / 50;
                Record { at_ns, ..record }
            })
            .collect();
        let run = |batch: usize| {
            let mut watch = watch(4096, true);
            let mut out = Vec::new();
            records.chunks(batch).for_each(|chunk| watch.observe(chunk, &mut out));
            watch.finish(at_ns, &mut out);
            (findings(out), watch.counters())
        };
        let (once, counted) = run(64);
        for batch in [1, 7, 200] {
            let (again, counted_again) = run(batch);
            prop_assert_eq!(&once, &again);
            prop_assert_eq!(counted, counted_again);
        }
    }

    #[test]
    fn a_mirror_that_copies_raises_nothing(
        server_closes: bool,
        copies in prop::collection::vec((any::<bool>(), 1u64..900), 60),
    ) {
        let mut records = Vec::new();
        for (record, (copied, late_us)) in healthy(6, server_closes).into_iter().zip(copies) {
            records.push(record);
            let at_ns = record.at_ns + late_us * 1000;
            records.extend(copied.then_some(Record { at_ns, ttl: 63, ..record }));
        }
        let mut watch = watch(64, false);
        let mut out = Vec::new();
        watch.observe(&records, &mut out);
        watch.finish(BEGIN_NS + 60 * SECOND_NS, &mut out);
        prop_assert_eq!(findings(out), Vec::new());
    }

    #[test]
    fn a_mirror_that_swaps_neighbours_raises_nothing(
        server_closes: bool,
        swaps in prop::collection::vec(any::<bool>(), 60),
    ) {
        let mut records = healthy(6, server_closes);
        let mut at = 0;
        while at + 1 < records.len() {
            let close = records[at + 1].at_ns - records[at].at_ns < SECOND_NS;
            if swaps[at] && close {
                let (first, second) = (records[at].at_ns, records[at + 1].at_ns);
                records.swap(at, at + 1);
                (records[at].at_ns, records[at + 1].at_ns) = (first, second);
                at += 1;
            }
            at += 1;
        }
        let mut watch = watch(64, false);
        let mut out = Vec::new();
        watch.observe(&records, &mut out);
        watch.finish(BEGIN_NS + 60 * SECOND_NS, &mut out);
        prop_assert_eq!(findings(out), Vec::new());
    }

    #[test]
    fn a_mirror_that_loses_segments_raises_nothing(
        server_closes: bool,
        lost in prop::collection::vec(prop::bool::weighted(0.15), 60),
    ) {
        let kept: Vec<Record> = healthy(6, server_closes)
            .into_iter()
            .zip(lost)
            .filter_map(|(record, lost)| (!lost).then_some(record))
            .collect();
        let mut watch = watch(64, false);
        let mut out = Vec::new();
        watch.observe(&kept, &mut out);
        watch.finish(BEGIN_NS + 60 * SECOND_NS, &mut out);
        prop_assert_eq!(findings(out), Vec::new());
    }
}

#[test]
fn a_syn_flood_leaves_closed_tuples_alone() {
    let mut watch = watch(4096, false);
    let mut out = Vec::new();
    for port in 0..1000 {
        let begin_ns = BEGIN_NS + u64::from(port) * 1_000_000;
        let records = connection(10_000 + port, true, 5_000_000, 500_000, begin_ns);
        records.iter().for_each(|record| watch.observe(&[*record], &mut out));
    }
    let held = watch.occupancy().time_wait;
    assert_eq!(held, 1000);
    for n in 0..100_000u32 {
        let mut syn = connection(1, true, n, 1, BEGIN_NS + 2 * SECOND_NS + u64::from(n) * 1000)[0];
        syn.src_addr[12..].copy_from_slice(&n.to_be_bytes());
        watch.observe(&[syn], &mut out);
    }
    let occupancy = watch.occupancy();
    assert_eq!(occupancy.time_wait, held, "closed tuples are still there");
    assert!(occupancy.syn_sent <= occupancy.capacity / 4 + 64, "{occupancy:?}");
    let counters = watch.counters();
    let gone = counters.evicted_embryonic + counters.table_refused;
    assert_eq!(gone + occupancy.syn_sent, 100_000, "every SYN is in the table or counted");
}

#[test]
fn more_collisions_than_places_are_counted_and_every_alert_ends() {
    const TUPLES: u32 = 3_000;
    let mut watch = watch(8192, false);
    let mut out = Vec::new();
    let at = |record: Record, n: u32, at_ns: u64| {
        let mut record = Record { at_ns, ..record };
        let client =
            if record.dst_port == 80 { &mut record.src_addr } else { &mut record.dst_addr };
        client[12..].copy_from_slice(&(0x0b00_0000 + n).to_be_bytes());
        record
    };
    let first = connection(40_000, true, 5_000_000, 500_000, BEGIN_NS);
    for n in 0..TUPLES {
        for record in &first {
            watch.observe(&[at(*record, n, BEGIN_NS + u64::from(n) * 1000)], &mut out);
        }
    }
    let (syn, last) = (first[0], first[first.len() - 1]);
    let begin_ns = BEGIN_NS + 5 * SECOND_NS;
    for n in 0..TUPLES {
        let syn = Record { seq: 77, ts_val: 1, ..syn };
        watch.observe(&[at(syn, n, begin_ns + u64::from(n) * 1000)], &mut out);
    }
    for n in 0..TUPLES {
        watch.observe(&[at(last, n, begin_ns + SECOND_NS + u64::from(n) * 1000)], &mut out);
    }
    watch.finish(begin_ns + 60 * SECOND_NS, &mut out);
    let counters = watch.counters();
    assert!(counters.contests_full >= u64::from(TUPLES - 1024), "{counters:?}");
    let (mut firing, mut resolved) = (0, 0);
    for finding in findings(out) {
        match finding.state {
            xdpwatch_core::finding::State::Firing => firing += 1,
            xdpwatch_core::finding::State::Resolved => resolved += 1,
        }
    }
    assert_eq!((firing, resolved), (1024, 1024));
}
