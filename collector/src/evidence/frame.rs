//! Frames written from records: for packets that are rebuilt, and for redacted ones, into which
//! nothing can leak that is no field of the record.

use etherparse::{
    EtherType, Ethernet2Header, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, SingleVlanHeader,
    TcpHeader, TcpOptionElement, UdpHeader, VlanId,
};
use xdpwatch_prog::record::{Record, marks};

use super::history::Packet;
use xdpwatch_prog::wire::Link;

/// VXLAN (RFC 7348): its port, and a header that says "there is a network number".
const VXLAN_PORT: u16 = 4789;
const VXLAN_FLAGS: [u8; 4] = [8, 0, 0, 0];

/// Ends of the tunnel in frames written here (RFC 5737, documentation).
const TUNNEL_ENDS: [[u8; 4]; 2] = [[192, 0, 2, 1], [192, 0, 2, 2]];

/// Payload that a header written here may claim at most: IPv4's limit less headers.
const PAYLOAD_MAX: u32 = 65_000;

/// The frame of this segment, without its payload, in VXLAN if it belongs to a virtual network.
#[must_use]
pub fn packet(record: &Record) -> Packet {
    let payload = record.payload_len.min(PAYLOAD_MAX) as usize;
    let mut bytes = ethernet(record, payload);
    if record.vni != 0 {
        bytes = vxlan(record.vni, &bytes, payload);
    }
    let frame_len = (bytes.len() + payload) as u32;
    Packet { at_ns: record.at_ns, frame_len, link: Link::Ethernet, bytes }
}

fn ethernet(record: &Record, payload: usize) -> Vec<u8> {
    let ipv6 = record.has_mark(marks::IPV6);
    let ip = if ipv6 { EtherType::IPV6 } else { EtherType::IPV4 };
    let vlans = &record.vlans[..usize::from(record.vlan_count.min(2))];
    let tag = |n: usize| match vlans.len() - n {
        0 => ip,
        1 => EtherType::VLAN_TAGGED_FRAME,
        _ => EtherType::PROVIDER_BRIDGING,
    };
    let mut bytes = link(tag(0)).to_bytes().to_vec();
    for (n, vlan) in vlans.iter().enumerate() {
        let header = SingleVlanHeader {
            vlan_id: VlanId::try_new(vlan & 0xfff).unwrap_or_default(),
            ether_type: tag(n + 1),
            ..SingleVlanHeader::default()
        };
        bytes.extend(header.to_bytes());
    }
    if ipv6 {
        ip_v6(record, payload, &mut bytes)
    } else {
        ip_v4(record, payload, &mut bytes)
    }
    bytes
}

/// Addresses of the link say nothing and are not known: locally administered ones stand in.
fn link(ether_type: EtherType) -> Ethernet2Header {
    Ethernet2Header { destination: [2, 0, 0, 0, 0, 2], source: [2, 0, 0, 0, 0, 1], ether_type }
}

fn ip_v4(record: &Record, payload: usize, bytes: &mut Vec<u8>) {
    let mut tcp = tcp(record);
    let [.., a, b, c, d] = record.src_addr;
    let [.., e, f, g, h] = record.dst_addr;
    let len = (tcp.header_len() + payload) as u16;
    // The length fits: payload and headers are below its limit.
    let mut ip = Ipv4Header::new(len, record.ttl, IpNumber::TCP, [a, b, c, d], [e, f, g, h])
        .unwrap_or_default();
    ip.identification = record.ip_id;
    ip.header_checksum = ip.calc_header_checksum();
    tcp.checksum = tcp.calc_checksum_ipv4(&ip, &vec![0; payload]).unwrap_or(0);
    bytes.extend(ip.to_bytes());
    bytes.extend(tcp.to_bytes());
}

fn ip_v6(record: &Record, payload: usize, bytes: &mut Vec<u8>) {
    let mut tcp = tcp(record);
    let ip = Ipv6Header {
        traffic_class: 0,
        flow_label: Ipv6FlowLabel::ZERO,
        payload_length: (tcp.header_len() + payload) as u16,
        next_header: IpNumber::TCP,
        hop_limit: record.ttl,
        source: record.src_addr,
        destination: record.dst_addr,
    };
    tcp.checksum = tcp.calc_checksum_ipv6(&ip, &vec![0; payload]).unwrap_or(0);
    bytes.extend(ip.to_bytes());
    bytes.extend(tcp.to_bytes());
}

/// Flags of a TCP header are read bit by bit; payload counts as zeros in the checksum.
fn tcp(record: &Record) -> TcpHeader {
    use xdpwatch_prog::record::flags;
    let mut tcp = TcpHeader::new(record.src_port, record.dst_port, record.seq, record.window);
    tcp.acknowledgment_number = record.ack;
    tcp.fin = record.has_flags(flags::FIN);
    tcp.syn = record.has_flags(flags::SYN);
    tcp.rst = record.has_flags(flags::RST);
    tcp.psh = record.has_flags(flags::PSH);
    tcp.ack = record.has_flags(flags::ACK);
    tcp.urg = record.has_flags(flags::URG);
    tcp.ece = record.flags & 0x40 != 0;
    tcp.cwr = record.flags & 0x80 != 0;
    let mut options = Vec::new();
    if record.has_mark(marks::TIMESTAMPS) {
        options.extend([TcpOptionElement::Noop, TcpOptionElement::Noop]);
        options.push(TcpOptionElement::Timestamp(record.ts_val, record.ts_ecr));
    }
    if record.has_mark(marks::WINDOW_SCALE) {
        options
            .extend([TcpOptionElement::Noop, TcpOptionElement::WindowScale(record.window_scale)]);
    }
    // 16 of 40 bytes at most.
    let _ = tcp.set_options(&options);
    tcp
}

fn vxlan(vni: u32, inner: &[u8], payload: usize) -> Vec<u8> {
    let len = (8 + 8 + inner.len() + payload) as u16;
    let [src, dst] = TUNNEL_ENDS;
    let mut ip = Ipv4Header::new(len, 64, IpNumber::UDP, src, dst).unwrap_or_default();
    ip.header_checksum = ip.calc_header_checksum();
    // RFC 7348, 4.2.1: the UDP checksum should be 0.
    let udp =
        UdpHeader { source_port: 49_152, destination_port: VXLAN_PORT, length: len, checksum: 0 };
    let mut bytes = link(EtherType::IPV4).to_bytes().to_vec();
    bytes.extend(ip.to_bytes());
    bytes.extend(udp.to_bytes());
    bytes.extend(VXLAN_FLAGS);
    bytes.extend((vni << 8).to_be_bytes());
    bytes.extend(inner);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use xdpwatch_prog::record::flags;
    use xdpwatch_prog::wire::parse_record;

    fn record() -> Record {
        let mut record = Record {
            at_ns: 7,
            src_port: 57011,
            dst_port: 8080,
            seq: 0x0102_0304,
            ack: 0xfffe_fdfc,
            ts_val: 3_134_415_069,
            ts_ecr: 5,
            payload_len: 1000,
            window: 29200,
            ip_id: 77,
            ttl: 61,
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
    fn the_parser_reads_what_was_written() {
        let mut six = Record { ip_id: 0, marks: marks::IPV6, ts_val: 0, ts_ecr: 0, ..record() };
        (six.src_addr[0], six.window_scale) = (0x20, 0);
        let tagged = Record { vlans: [100, 7], vlan_count: 2, ..record() };
        let reset = Record { flags: flags::RST, payload_len: 0, ..record() };
        let inside =
            Record { vni: 0x1234, marks: record().marks | marks::ENCAPSULATED, ..record() };
        for record in [record(), six, tagged, reset, inside] {
            let written = packet(&record);
            let read = parse_record(&written.bytes, written.frame_len, 7, Link::Ethernet);
            let expected = Record { frame_len: written.frame_len, ..record };
            assert_eq!(read, Ok(expected));
        }
    }
}
