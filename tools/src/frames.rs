//! Frames from records: the inverse of the wire parser, for Ethernet, VLANs, IPv4, IPv6 and TCP.
//!
//! Checksums are right, so that real hosts take the frames too. Payload is zeros.

use xdpwatch_prog::record::{Record, marks};

/// Locally administered addresses that stand in for the two ends.
const MACS: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];

/// The Ethernet frame of this segment, payload included.
#[must_use]
pub fn ethernet(record: &Record) -> Vec<u8> {
    let mut frame = MACS.to_vec();
    let tags = usize::from(record.vlan_count.min(2));
    for (n, vlan) in record.vlans[..tags].iter().enumerate() {
        let ether_type: u16 = if n + 1 < tags { 0x88a8 } else { 0x8100 };
        frame.extend(ether_type.to_be_bytes());
        frame.extend(vlan.to_be_bytes());
    }
    let ether_type: u16 = if record.has_mark(marks::IPV6) { 0x86dd } else { 0x0800 };
    frame.extend(ether_type.to_be_bytes());
    frame.extend(ip(record));
    frame
}

/// The IP packet of this segment.
#[must_use]
pub fn ip(record: &Record) -> Vec<u8> {
    let segment = tcp(record);
    if record.has_mark(marks::IPV6) {
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend((segment.len() as u16).to_be_bytes());
        packet.extend([6, record.ttl]);
        packet.extend(record.src_addr);
        packet.extend(record.dst_addr);
        packet.extend(segment);
        return packet;
    }
    let mut header = vec![0x45, 0];
    header.extend((20 + segment.len() as u16).to_be_bytes());
    header.extend(record.ip_id.to_be_bytes());
    header.extend([0x40, 0, record.ttl, 6, 0, 0]);
    header.extend(&record.src_addr[12..]);
    header.extend(&record.dst_addr[12..]);
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header.extend(segment);
    header
}

/// Options of a segment that is to be cut inside them: whoever captures it leaves these bytes out.
pub const CUT_LEN: usize = 20;

/// The TCP segment: header, options, zeros for payload.
fn tcp(record: &Record) -> Vec<u8> {
    let mut options = Vec::new();
    if record.has_mark(marks::TIMESTAMPS) {
        options.extend([1, 1, 8, 10]);
        options.extend(record.ts_val.to_be_bytes());
        options.extend(record.ts_ecr.to_be_bytes());
    }
    if record.has_mark(marks::WINDOW_SCALE) {
        options.extend([1, 3, 3, record.window_scale]);
    }
    if record.has_mark(marks::OPTIONS_CUT) {
        options.extend([1; CUT_LEN]);
    }
    let mut segment = Vec::new();
    segment.extend(record.src_port.to_be_bytes());
    segment.extend(record.dst_port.to_be_bytes());
    segment.extend(record.seq.to_be_bytes());
    segment.extend(record.ack.to_be_bytes());
    segment.extend([((20 + options.len()) as u8 / 4) << 4, record.flags]);
    segment.extend(record.window.to_be_bytes());
    segment.extend([0; 4]);
    segment.extend(options);
    segment.resize(segment.len() + record.payload_len as usize, 0);
    let address = if record.has_mark(marks::IPV6) { 0 } else { 12 };
    let pseudo = [&record.src_addr[address..], &record.dst_addr[address..]].concat();
    let length = (segment.len() as u32).to_be_bytes();
    let sum = checksum(&[&pseudo, &length, &[0, 6], &segment]);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// The Internet checksum (RFC 1071) over parts of even length; only the last may be odd.
#[must_use]
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use xdpwatch_prog::record::flags;
    use xdpwatch_prog::wire::{Link, parse_record};

    fn record() -> Record {
        let mut record = Record {
            at_ns: 7,
            src_port: 57011,
            dst_port: 8080,
            seq: 0x0102_0304,
            ack: 0xfffe_fdfc,
            ts_val: 3_134_415_069,
            ts_ecr: 5,
            window: 29200,
            ip_id: 77,
            ttl: 64,
            flags: flags::SYN | flags::ACK,
            window_scale: 7,
            marks: marks::TIMESTAMPS | marks::WINDOW_SCALE,
            ..Record::default()
        };
        record.src_addr[10..].copy_from_slice(&[0xff, 0xff, 10, 24, 20, 249]);
        record.dst_addr[10..].copy_from_slice(&[0xff, 0xff, 10, 24, 20, 26]);
        record
    }

    #[test]
    fn the_parser_reads_what_was_built() {
        let v6 = marks::IPV6 | marks::TIMESTAMPS;
        let mut six = Record { marks: v6, ip_id: 0, window_scale: 0, ..record() };
        six.src_addr[0] = 0x20;
        let tagged = Record { vlans: [100, 7], vlan_count: 2, payload_len: 11, ..record() };
        for record in [record(), six, tagged] {
            let frame = ethernet(&record);
            let expected = Record { frame_len: frame.len() as u32, ..record };
            let read = parse_record(&frame, frame.len() as u32, 7, Link::Ethernet);
            assert_eq!(read, Ok(expected));
        }
    }
}
