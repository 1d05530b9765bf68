//! The table under a load that never ends: what it holds, gives up and finds again is held against
//! a model, to the last connection.

use xdpwatch_core::watch::{Config, Watch};
use xdpwatch_prog::record::{Record, flags, marks};

const SECOND_NS: u64 = 1_000_000_000;
const BEGIN_NS: u64 = 1_700_000_000 * SECOND_NS;

fn watch(max_tuples: usize) -> Watch {
    Watch::new(Config {
        max_tuples,
        horizon_ns: 300 * SECOND_NS,
        seeds: [5, 6, 7, 8],
        ..Config::default()
    })
}

fn address(v4: u32) -> [u8; 16] {
    std::net::Ipv4Addr::from(v4).to_ipv6_mapped().octets()
}

/// Segments of a connection that its client closes: flags, whether the client sends it, and how many
/// milliseconds after the SYN.
const SEGMENTS: [(u8, bool, u64); 6] = [
    (flags::SYN, true, 0),
    (flags::SYN | flags::ACK, false, 1),
    (flags::ACK, true, 2),
    (flags::FIN | flags::ACK, true, 20),
    (flags::FIN | flags::ACK, false, 21),
    (flags::ACK, true, 22),
];

/// Segment `stage` of the connection with this number, on the tuple with that one.
fn segment(n: u64, on_tuple: u64, stage: usize, at_ns: u64) -> Record {
    let (tcp_flags, from_client, _) = SEGMENTS[stage];
    let client_next = (n as u32).wrapping_mul(70_001) + [0, 1, 1, 1, 2, 2][stage];
    let server_next = (n as u32).wrapping_mul(90_001) + [0, 0, 1, 1, 1, 2][stage];
    let mut record = Record {
        at_ns,
        src_addr: address(0x1000_0000 + on_tuple as u32),
        dst_addr: address(0x0a00_0001),
        src_port: 1024 + (on_tuple % 50_000) as u16,
        dst_port: 443,
        seq: client_next,
        ack: if stage == 0 { 0 } else { server_next },
        ts_val: (at_ns / 1_000_000) as u32,
        ts_ecr: 1,
        window: 500,
        flags: tcp_flags,
        marks: marks::TIMESTAMPS,
        ..Record::default()
    };
    if !from_client {
        std::mem::swap(&mut record.src_addr, &mut record.dst_addr);
        std::mem::swap(&mut record.src_port, &mut record.dst_port);
        (record.seq, record.ack) = (server_next, client_next);
    }
    record
}

/// Ten minutes of new connections at an even rate, each closed at once; every hundredth comes back on
/// a tuple that its client has held in TIME_WAIT for 30 s. The table has room for 90 s of them.
///
/// With XDPWATCH_LONG at 100 000 connections a second, otherwise at a hundredth of that.
#[test]
fn ten_minutes_of_new_connections_add_up_to_the_last_one() {
    let per_s: u64 = if std::env::var_os("XDPWATCH_LONG").is_some() { 100_000 } else { 1_000 };
    let (total, reused_after) = (600 * per_s, 30 * per_s);
    let mut watch = watch(usize::try_from(90 * per_s).unwrap());
    let mut out = Vec::new();
    let mut batch = Vec::with_capacity(64);
    let comes_back = |n: u64| n.is_multiple_of(100) && n >= reused_after;
    // A tuple that has come back is not taken a third time: its first use was no return itself.
    let on_tuple = |n: u64| if comes_back(n) { n - reused_after + 1 } else { n };
    for step in 0..total + per_s {
        for (stage, (.., after_ms)) in SEGMENTS.iter().enumerate() {
            let Some(n) = step.checked_sub(after_ms * per_s / 1000) else { continue };
            if n >= total {
                continue;
            }
            let at_ns = BEGIN_NS + step * SECOND_NS / per_s;
            batch.push(segment(n, on_tuple(n), stage, at_ns));
            if batch.len() == 64 {
                watch.observe(&batch, &mut out);
                batch.clear();
                out.clear();
            }
        }
    }
    watch.observe(&batch, &mut out);
    let (counters, occupancy) = (watch.counters(), watch.occupancy());
    let returns = (0..total).filter(|n| comes_back(*n)).count() as u64;
    assert_eq!(counters.records, 6 * total);
    assert_eq!(counters.connections, total, "every SYN opened one: {counters:?}");
    assert_eq!(counters.mid_stream, 0, "every other segment found its connection: {counters:?}");
    assert_eq!(counters.self_reuse, returns, "every return found the tuple's earlier life");
    assert_eq!(counters.table_refused + counters.evicted_embryonic + counters.evicted_dead, 0);
    assert_eq!(occupancy.used(), occupancy.time_wait, "all are closed: {occupancy:?}");
    assert_eq!(
        total,
        occupancy.used() + counters.evicted_closed + returns,
        "{counters:?} {occupancy:?}"
    );
    let remembered_s = watch.remembered_ns() / SECOND_NS;
    assert!((60..=90).contains(&remembered_s), "remembered for {remembered_s} s");
    println!(
        "{total} connections at {per_s} a second: {} of {} IPv4 places used, {} given up, \
         all remembered for {remembered_s} s at least",
        occupancy.used(),
        90 * per_s,
        counters.evicted_closed
    );
}

/// Closed tuples still inside their 60 s fill most of the table; a SYN flood ten times its size takes
/// the free places, then its own, and none of theirs.
#[test]
fn a_syn_flood_on_a_full_table_takes_nothing_that_is_held() {
    const HELD: u64 = 14_000;
    let mut watch = watch(16_384);
    let mut out = Vec::new();
    for n in 0..HELD {
        for stage in 0..SEGMENTS.len() {
            watch.observe(&[segment(n, n, stage, BEGIN_NS + n * 1_000_000)], &mut out);
        }
    }
    assert_eq!(watch.occupancy().time_wait, HELD);
    for n in 0..160_000u64 {
        let at_ns = BEGIN_NS + 20 * SECOND_NS + n * 100_000;
        watch.observe(&[segment(n, 1 << 20 | n, 0, at_ns)], &mut out);
        out.clear();
    }
    let (counters, occupancy) = (watch.counters(), watch.occupancy());
    assert_eq!(occupancy.time_wait, HELD, "{counters:?}");
    assert_eq!(counters.evicted_closed, 0);
    let gone = counters.evicted_embryonic + counters.table_refused;
    assert_eq!(gone + occupancy.syn_sent, 160_000, "every SYN is in the table or counted");
}
