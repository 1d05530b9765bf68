//! The frame that is seen most, read in one go: Ethernet, IPv4 without options, TCP, nothing wrapped
//! around it. Everything else is left to `wire`, which reads this frame too, in more steps.

use crate::record::{Record, marks};
use crate::wire::{Link, Parsed, ip, tcp};

/// The headers without TCP options.
const HEADERS: usize = 14 + 20 + 20;

/// EtherType IPv4; version 4 and five words of header.
const BEGINNING: [u8; 3] = [0x08, 0x00, 0x45];

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
    let mut record = Record {
        at_ns,
        src_addr: mapped(word(26)),
        dst_addr: mapped(word(30)),
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
    let end = header_end.min(frame.len());
    tcp::options(frame.get(HEADERS..end).unwrap_or_default(), &mut record);
    if end < header_end {
        record.marks |= marks::OPTIONS_CUT;
    }
    Some(Parsed { record, header_end })
}

#[inline]
fn mapped(v4: u32) -> [u8; 16] {
    (0xffff_0000_0000 | u128::from(v4)).to_be_bytes()
}
