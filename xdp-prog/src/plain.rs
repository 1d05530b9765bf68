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
#[inline]
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
    let record = Record {
        at_ns,
        src_addr: mapped([head[26], head[27], head[28], head[29]]),
        dst_addr: mapped([head[30], head[31], head[32], head[33]]),
        src_port: half(34),
        dst_port: half(36),
        seq: word(38),
        ack: word(42),
        payload_len: (14 + total_len).saturating_sub(header_end) as u32,
        frame_len,
        window: half(48),
        ip_id: half(18),
        flags: head[47],
        ttl: head[22],
        ..Record::default()
    };
    let record = match frame[HEADERS..].first_chunk::<12>() {
        Some([a, b, c, d, times @ ..]) if tcp_len == 32 && [*a, *b, *c, *d] == TIMESTAMPS => {
            timestamped(record, times)
        }
        _ if header_end == HEADERS => record,
        _ => with_options(record, frame, header_end),
    };
    Some(Parsed { record, header_end })
}

#[inline]
fn timestamped(record: Record, times: &[u8; 8]) -> Record {
    let [a, b, c, d, e, f, g, h] = *times;
    Record {
        ts_val: u32::from_be_bytes([a, b, c, d]),
        ts_ecr: u32::from_be_bytes([e, f, g, h]),
        marks: marks::TIMESTAMPS,
        ..record
    }
}

/// By value: a record that is lent out would have to lie in memory for the others' sake too.
#[inline(never)]
fn with_options(mut record: Record, frame: &[u8], header_end: usize) -> Record {
    let end = header_end.min(frame.len());
    tcp::options(frame.get(HEADERS..end).unwrap_or_default(), &mut record);
    if end < header_end {
        record.marks |= marks::OPTIONS_CUT;
    }
    record
}

#[inline]
fn mapped([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}
