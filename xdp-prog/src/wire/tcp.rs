//! The TCP header (RFC 9293, 3.1) and the two options that the detector needs.

use super::ip::{Network, octets};
use super::{Frame, Parsed, Skip};
use crate::record::{Record, marks};

/// The fields at the beginning of every TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Control bits.
    pub flags: u8,
    /// Window, unscaled.
    pub window: u16,
    /// Length of the header with its options, bytes.
    pub len: usize,
}

/// Reads the header at `at`. The checksum and urgent pointer may be cut off.
#[inline(always)]
pub fn header<F: Frame>(frame: &F, at: usize) -> Result<Header, Skip> {
    let bytes: [u8; 16] = frame.bytes(at)?;
    let len = usize::from(bytes[12] >> 4) * 4;
    if len < 20 {
        return Err(Skip::BadTcp);
    }
    let word = |n: usize| u32::from_be_bytes([bytes[n], bytes[n + 1], bytes[n + 2], bytes[n + 3]]);
    Ok(Header {
        src_port: (word(0) >> 16) as u16,
        dst_port: word(0) as u16,
        seq: word(4),
        ack: word(8),
        flags: bytes[13],
        window: word(12) as u16,
        len,
    })
}

/// The record of the segment in `network`'s payload.
pub fn record(frame: &&[u8], network: &Network, at_ns: u64) -> Result<Parsed, Skip> {
    let at = network.payload_at;
    let header = header(frame, at)?;
    let header_end = at + header.len;
    let payload_len = network.payload_end.saturating_sub(header_end);
    let mut record = Record {
        at_ns,
        src_addr: octets(&network.src),
        dst_addr: octets(&network.dst),
        src_port: header.src_port,
        dst_port: header.dst_port,
        seq: header.seq,
        ack: header.ack,
        payload_len: u32::try_from(payload_len).unwrap_or(u32::MAX),
        window: header.window,
        ip_id: network.id,
        flags: header.flags,
        ttl: network.ttl,
        ..Record::default()
    };
    let facts = [
        (network.is_v6, marks::IPV6),
        (network.length_from_frame, marks::LENGTH_FROM_FRAME),
        (network.first_fragment, marks::FIRST_FRAGMENT),
    ];
    for (holds, mark) in facts {
        record.marks |= if holds { mark } else { 0 };
    }
    let end = header_end.min(frame.len());
    options(frame.get(at + 20..end).unwrap_or_default(), &mut record);
    if end < header_end {
        record.marks |= marks::OPTIONS_CUT;
    }
    Ok(Parsed { record, header_end })
}

/// Option kinds (RFC 9293, 3.2; RFC 7323, 2 and 3).
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const WINDOW_SCALE: u8 = 3;
const TIMESTAMPS: u8 = 8;

/// Takes the options that the detector needs into the record.
#[inline(always)]
pub fn options(rest: &[u8], record: &mut Record) {
    // What nearly every segment of an open connection carries (RFC 7323, appendix A).
    if let [NO_OPERATION, NO_OPERATION, TIMESTAMPS, 10, a, b, c, d, e, f, g, h] = *rest {
        record.ts_val = u32::from_be_bytes([a, b, c, d]);
        record.ts_ecr = u32::from_be_bytes([e, f, g, h]);
        record.marks |= marks::TIMESTAMPS;
    } else {
        any_options(rest, record);
    }
}

fn any_options(mut rest: &[u8], record: &mut Record) {
    while let [kind, after @ ..] = rest {
        if *kind == NO_OPERATION {
            rest = after;
            continue;
        }
        // The length counts kind and length themselves; anything less would never end.
        let Some(len @ 2..) = after.first().map(|len| usize::from(*len)) else { return };
        if *kind == END {
            return;
        }
        match (*kind, rest.get(2..len)) {
            (WINDOW_SCALE, Some(&[shift])) => {
                record.window_scale = shift;
                record.marks |= marks::WINDOW_SCALE;
            }
            (TIMESTAMPS, Some(&[a, b, c, d, e, f, g, h])) => {
                record.ts_val = u32::from_be_bytes([a, b, c, d]);
                record.ts_ecr = u32::from_be_bytes([e, f, g, h]);
                record.marks |= marks::TIMESTAMPS;
            }
            _ => {}
        }
        rest = rest.get(len..).unwrap_or_default();
    }
}
