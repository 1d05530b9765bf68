use super::*;
use crate::evidence::frame;
use xdpwatch_prog::record::flags;

fn mapped(last: u8) -> [u8; 16] {
    std::net::Ipv4Addr::new(10, 0, 0, last).to_ipv6_mapped().octets()
}

fn record(at_ns: u64, port: u16, tcp_flags: u8) -> Record {
    Record {
        at_ns,
        src_addr: mapped(1),
        dst_addr: mapped(2),
        src_port: port,
        dst_port: 80,
        flags: tcp_flags,
        ..Record::default()
    }
}

fn put(history: &mut History, record: &Record) {
    let Packet { link, bytes, .. } = frame::packet(record);
    history.put(record, link, &bytes);
}

fn packets(history: &History, port: u16, end_ns: u64) -> Vec<Packet> {
    history.find(&Tuple::of(&record(0, port, 0), false).0, end_ns)
}

fn found(history: &History, port: u16, end_ns: u64) -> Vec<u64> {
    packets(history, port, end_ns).iter().map(|packet| packet.at_ns).collect()
}

#[test]
fn both_directions_are_found_and_others_not() {
    let mut history = History::new(8, 0, Keep::All, 5);
    let there = Record { frame_len: 60, ..record(1000, 7, flags::SYN) };
    let back = Record {
        at_ns: 2000,
        src_addr: there.dst_addr,
        dst_addr: there.src_addr,
        src_port: 80,
        dst_port: 7,
        ..there
    };
    put(&mut history, &there);
    history.put(&back, Link::RawIp, &frame::packet(&back).bytes[14..]);
    put(&mut history, &record(3000, 8, flags::SYN));
    // The same numbers between other ends.
    put(&mut history, &Record { src_port: 80, dst_port: 7, ..record(4000, 0, flags::SYN) });
    assert_eq!(found(&history, 7, 9000), [1000, 2000]);
    let packets = packets(&history, 7, 9000);
    assert_eq!(packets[0], Packet { frame_len: 60, ..frame::packet(&there) });
    assert_eq!((packets[1].bytes.len(), packets[1].link), (40, Link::RawIp));
}

#[test]
fn headers_of_every_length_are_kept_whole() {
    let syn = Record { frame_len: 400, ..record(1000, 7, flags::SYN) };
    let mut headers = frame::packet(&syn).bytes;
    let whole = headers.len();
    headers.extend((0..=u8::MAX).rev());
    let mut history = History::new(1 << 12, 0, Keep::All, 5);
    for len in 0..headers.len() {
        history.put(&syn, Link::Ethernet, &[0xee; BYTES]);
        history.put(&syn, Link::Ethernet, &headers[..len]);
        history.put(&syn, Link::Ethernet, &[0xee; BYTES]);
    }
    let kept: Vec<_> = packets(&history, 7, 9000).iter().map(|p| p.bytes.clone()).collect();
    let can_be_read = |len: &usize| parse_record(&headers[..*len], 400, 0, Link::Ethernet).is_ok();
    let expected: Vec<_> = (0..headers.len())
        .filter(can_be_read)
        .map(|len| headers[..len.min(BYTES)].to_vec())
        .collect();
    assert!(expected.len() >= headers.len() - whole);
    assert_eq!(kept, expected);
}

#[test]
fn the_ring_forgets_the_oldest() {
    let mut history = History::new(4, 0, Keep::All, 5);
    for n in 0..6 {
        put(&mut history, &record(n * 1000, 7, flags::SYN));
    }
    assert_eq!(found(&history, 7, 5000), [2000, 3000, 4000, 5000]);
}

#[test]
fn nothing_is_handed_out_that_was_written_over() {
    for seed in 0..64 {
        let mut history = History::new(5, 0, Keep::All, seed);
        for n in 1..200u64 {
            let vni = if (n ^ seed).is_multiple_of(3) { 9 } else { 0 };
            put(&mut history, &Record { vni, seq: n as u32, ..record(n, 7, flags::SYN) });
            let packets = packets(&history, 7, 999);
            assert!(!packets.is_empty());
            for packet in packets {
                let read = parse_record(&packet.bytes, packet.frame_len, 0, packet.link);
                assert_eq!(read.map(|record| u64::from(record.seq)), Ok(packet.at_ns));
            }
        }
    }
}

#[test]
fn what_came_later_changes_no_answer() {
    // As long as can be, or as short; and from every place in the ring.
    for (vni, before_it) in (0..60).flat_map(|n| [(0, n), (9, n)]) {
        let mut history = History::new(3, 4, Keep::All, 5);
        for n in 0..before_it {
            let vni = if n % 2 == 0 { 9 } else { 0 };
            put(&mut history, &Record { vni, ..record(n, 8, flags::SYN) });
        }
        for n in 100..105 {
            put(&mut history, &record(n * 1000, 7, flags::SYN));
        }
        let before = found(&history, 7, 104_000);
        for n in 105..109 {
            put(&mut history, &Record { vni, ..record(n * 1000, 8, flags::SYN) });
            assert_eq!(found(&history, 7, 104_000), before);
        }
        assert!(before.ends_with(&[103_000, 104_000]), "{before:?}");
    }
}

#[test]
fn strangers_take_no_place_of_those_asked_for() {
    let mut history = History::new(4096, 0, Keep::All, 5);
    put(&mut history, &record(1000, 7, flags::SYN));
    for n in 2..2000 {
        // The same differences: the same tag, whatever the key.
        let mut stranger = record(n * 1000, 7, flags::SYN);
        stranger.src_addr[12] ^= 0x40;
        stranger.dst_addr[12] ^= 0x40;
        put(&mut history, &stranger);
    }
    assert_eq!(found(&history, 7, 9_000_000), [1000]);
}

#[test]
fn data_is_kept_only_of_tuples_in_transition() {
    let mut history = History::new(16, 0, Keep::Transitions, 5);
    let second = 1_000_000_000;
    for (at, tcp_flags) in [
        (1, flags::ACK),
        (2, flags::SYN),
        (6, flags::ACK),
        (11, flags::ACK),
        (12, flags::RST),
        (13, flags::ACK),
        (14, flags::FIN | flags::ACK),
        (79, flags::ACK),
        (92, flags::ACK),
        (93, flags::SYN),
        (500, flags::ACK),
    ] {
        put(&mut history, &record(at * second, 7, tcp_flags));
    }
    let seconds: Vec<u64> =
        found(&history, 7, 999 * second).iter().map(|at_ns| at_ns / second).collect();
    assert_eq!(seconds, [2, 6, 12, 14, 79, 93]);
}
