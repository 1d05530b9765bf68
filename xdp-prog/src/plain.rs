//! The frame that is seen most, read in one go: Ethernet, IPv4 without options, TCP, nothing wrapped
//! around it. Everything else is left to `wire`, which reads this frame too, in more steps.

use crate::record::{Record, marks};
use crate::wire::{Link, Parsed, ip, tcp};

/// The headers without TCP options.
const HEADERS: usize = 14 + 20 + 20;

/// EtherType IPv4; version 4 and five words of header.
const BEGINNING: [u8; 3] = [0x08, 0x00, 0x45];

/// The options that nearly every segment of an open connection carries (RFC 7323, appendix A): two of
/// no operation, then timestamps.
const TIMESTAMPS: [u8; 4] = [1, 1, 8, 10];

/// The segment, if the frame is of this kind; arguments as for [`crate::wire::parse`].
#[inline(always)]
#[must_use]
pub fn parse(frame: &[u8], frame_len: u32, at_ns: u64, link: Link) -> Option<Parsed> {
    let head: &[u8; HEADERS] = frame.first_chunk()?;
    let half = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let total_len = usize::from(half(16));
    let tcp_len = usize::from(head[46] >> 4) * 4;
    let is_fragment = half(20) & 0x3fff != 0;
    let is_plain = link == Link::Ethernet && head[12..15] == BEGINNING && head[23] == ip::TCP;
    if !is_plain || is_fragment || total_len < 20 || tcp_len < 20 {
        return None;
    }
    let header_end = 34 + tcp_len;
    let options = match frame[HEADERS..].first_chunk::<12>() {
        Some([a, b, c, d, times @ ..]) if tcp_len == 32 && [*a, *b, *c, *d] == TIMESTAMPS => {
            timestamps(times)
        }
        _ if header_end == HEADERS => Options::default(),
        _ => any_options(frame, header_end),
    };
    // Made once and in one place, so that it is written where it is to lie.
    let record = Record {
        at_ns,
        src_addr: mapped([head[26], head[27], head[28], head[29]]),
        dst_addr: mapped([head[30], head[31], head[32], head[33]]),
        src_port: half(34),
        dst_port: half(36),
        seq: word(38),
        ack: word(42),
        ts_val: options.ts_val,
        ts_ecr: options.ts_ecr,
        payload_len: (14 + total_len).saturating_sub(header_end) as u32,
        frame_len,
        window: half(48),
        ip_id: half(18),
        marks: options.marks,
        flags: head[47],
        window_scale: options.window_scale,
        ttl: head[22],
        ..Record::default()
    };
    Some(Parsed { record, header_end })
}

/// What the TCP options give.
#[derive(Clone, Copy, Default)]
struct Options {
    ts_val: u32,
    ts_ecr: u32,
    marks: u16,
    window_scale: u8,
}

#[inline]
fn timestamps(times: &[u8; 8]) -> Options {
    let [a, b, c, d, e, f, g, h] = *times;
    Options {
        ts_val: u32::from_be_bytes([a, b, c, d]),
        ts_ecr: u32::from_be_bytes([e, f, g, h]),
        marks: marks::TIMESTAMPS,
        window_scale: 0,
    }
}

#[inline(never)]
fn any_options(frame: &[u8], header_end: usize) -> Options {
    let mut record = Record::default();
    let end = header_end.min(frame.len());
    tcp::options(frame.get(HEADERS..end).unwrap_or_default(), &mut record);
    let Record { ts_val, ts_ecr, marks: found, window_scale, .. } = record;
    let cut = if end < header_end { marks::OPTIONS_CUT } else { 0 };
    Options { ts_val, ts_ecr, marks: found | cut, window_scale }
}

#[inline]
fn mapped(v4: [u8; 4]) -> [u8; 16] {
    (u128::from(u32::from_le_bytes(v4)) << 96 | 0xffff << 80).to_le_bytes()
}
