//! The transition filter under load, played on the host with the program's own hash and slots: how many
//! slots are taken, how many segments of strangers pass, and how many that are needed do not.

use xdpwatch_prog::record::{Record, flags};
use xdpwatch_prog::wire;
use xdpwatch_tools::frames;
use xdpwatch_tools::selection::Selection;

const SECOND_NS: u64 = 1_000_000_000;

/// Long enough for the windows to be as full as they get.
const WARM_UP_S: u64 = 70;

/// Strangers' segments, and connections looked at closely, for each row.
const SAMPLES: u32 = 20_000;

/// Prints every row.
pub fn all() {
    println!(
        "\n| connections/s | slots | saturated | strangers' segments passed | needed segments missed |"
    );
    println!("|---|---|---|---|---|");
    for slots in [1u32 << 20, 1 << 22] {
        for rate in [100, 1_000, 10_000, 30_000, 100_000] {
            row(rate, slots);
        }
    }
}

/// One load: each connection opens, lives for a second, and is closed by both ends.
fn row(rate: u64, slots: u32) {
    let mut selection = Selection::new(slots, 0x5eed);
    let mut located = template();
    let mut tuple = 0u32;
    for second in 0..WARM_UP_S {
        for n in 0..rate {
            let at_ns = second * SECOND_NS + n * SECOND_NS / rate;
            address(&mut located, tuple);
            tuple += 1;
            for (tcp_flags, after_ns) in [(flags::SYN, 0), (flags::FIN, SECOND_NS)] {
                located.header.flags = tcp_flags;
                selection.selects(&located, at_ns + after_ns);
            }
        }
    }
    let now_ns = WARM_UP_S * SECOND_NS;
    let saturated = selection.saturated(now_ns);
    located.header.flags = flags::ACK;
    let passed = (0..SAMPLES).filter(|n| {
        address(&mut located, u32::MAX - n);
        selection.selects(&located, now_ns)
    });
    let passed = passed.count() as f64 / f64::from(SAMPLES);
    let missed = missed(&mut selection, tuple, now_ns);
    println!(
        "| {rate} | 2^{} | {:.2} % | {:.2} % | {missed:.4} % |",
        slots.trailing_zeros(),
        saturated * 100.0,
        passed * 100.0
    );
}

/// The share of needed data segments that expiry hides, percent: the end of the handshake and the
/// answers to each SYN, where SYNs are repeated as Linux does; the last ACKs, and the answers to SYNs
/// that meet TIME-WAIT. One connection in a hundred loses its first SYNs, one in a thousand takes 6 s
/// from its SYN/ACK to its ACK.
fn missed(selection: &mut Selection, first: u32, now_ns: u64) -> f64 {
    let (mut needed, mut hidden) = (0u32, 0u32);
    let mut located = template();
    for n in 0..SAMPLES {
        address(&mut located, first + n);
        let syns: &[u64] = if n % 100 == 0 { &[0, 1, 3, 7, 15] } else { &[0] };
        let answer_ms = if n % 1000 == 0 { 6_000 } else { u64::from(n % 300) };
        let last_ms = syns[syns.len() - 1] * 1000;
        let close_ms = last_ms + answer_ms + 1000 + u64::from(n) % 7000;
        let segments = syns.iter().map(|s| (flags::SYN, s * 1000)).chain([
            (flags::SYN | flags::ACK, last_ms + 1),
            (flags::ACK, last_ms + 1 + answer_ms),
            (flags::FIN | flags::ACK, close_ms),
            (flags::ACK, close_ms + 1),
            (flags::FIN | flags::ACK, close_ms + 500),
            (flags::ACK, close_ms + 501),
            // A new SYN late in TIME-WAIT, and the old connection's ACK that answers it.
            (flags::SYN, close_ms + 58_000),
            (flags::ACK, close_ms + 58_000 + u64::from(n % 300)),
        ]);
        for (tcp_flags, ms) in segments {
            located.header.flags = tcp_flags;
            let is_seen = selection.selects(&located, now_ns + ms * 1_000_000);
            if tcp_flags == flags::ACK {
                needed += 1;
                hidden += u32::from(!is_seen);
            }
        }
    }
    100.0 * f64::from(hidden) / f64::from(needed)
}

fn template() -> wire::Located {
    let mut record = Record { src_port: 1, dst_port: 443, flags: flags::SYN, ..Record::default() };
    record.src_addr[10..].copy_from_slice(&[0xff, 0xff, 10, 0, 0, 1]);
    record.dst_addr[10..].copy_from_slice(&[0xff, 0xff, 198, 51, 100, 1]);
    let frame = frames::ethernet(&record);
    match wire::locate(&frame.as_slice(), 0, frame.len()) {
        Ok(located) => located,
        Err(skip) => unreachable!("a frame made here: {skip:?}"),
    }
}

/// Makes it the segment of another tuple: addresses and ports of many clients.
fn address(located: &mut wire::Located, tuple: u32) {
    located.network.src[3] = u32::from_be(0x0a00_0000 | tuple >> 15);
    located.header.src_port = (tuple & 0x7fff) as u16 | 0x8000;
}
