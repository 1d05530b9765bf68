//! The parser against etherparse, an independent one: on the shipped captures, on built frames, on
//! damaged ones. Where both find a segment, every field that both know is the same.

mod common;

use std::fs::File;
use std::path::Path;

use common::records;
use etherparse::{NetSlice, SlicedPacket, TcpOptionElement, TransportSlice};
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{LegacyPcapReader, PcapBlockOwned, PcapError};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use xdpwatch_prog::record::{Record, marks};
use xdpwatch_prog::wire::{self, Link, Parsed, Skip};
use xdpwatch_tools::cases;
use xdpwatch_tools::frames::ethernet;

fn ours(frame: &[u8]) -> Result<Parsed, Skip> {
    wire::parse(frame, frame.len() as u32, 0, Link::Ethernet)
}

/// What etherparse finds: the record, with the marks that both know, and where the headers end.
fn theirs(frame: &[u8]) -> Option<Parsed> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let TransportSlice::Tcp(tcp) = packet.transport.as_ref()? else { return None };
    let mut record = Record {
        src_port: tcp.source_port(),
        dst_port: tcp.destination_port(),
        seq: tcp.sequence_number(),
        ack: tcp.acknowledgment_number(),
        window: tcp.window_size(),
        flags: tcp.header_slice()[13],
        payload_len: tcp.payload().len() as u32,
        frame_len: frame.len() as u32,
        ..Record::default()
    };
    match packet.net.as_ref()? {
        NetSlice::Ipv4(slice) => {
            let header = slice.header();
            record.src_addr = header.source_addr().to_ipv6_mapped().octets();
            record.dst_addr = header.destination_addr().to_ipv6_mapped().octets();
            (record.ttl, record.ip_id) = (header.ttl(), header.identification());
        }
        NetSlice::Ipv6(slice) => {
            let header = slice.header();
            (record.src_addr, record.dst_addr) = (header.source(), header.destination());
            record.ttl = header.hop_limit();
            record.marks |= marks::IPV6;
        }
        NetSlice::Arp(_) => return None,
    }
    for option in tcp.options_iterator() {
        match option {
            Ok(TcpOptionElement::Timestamp(ts_val, ts_ecr)) => {
                (record.ts_val, record.ts_ecr) = (ts_val, ts_ecr);
                record.marks |= marks::TIMESTAMPS;
            }
            Ok(TcpOptionElement::WindowScale(shift)) => {
                record.window_scale = shift;
                record.marks |= marks::WINDOW_SCALE;
            }
            Ok(_) => {}
            // It stops at the first option that is malformed; ours steps over it by its length.
            Err(_) => return None,
        }
    }
    for (kept, id) in record.vlans.iter_mut().zip(packet.vlan_ids()) {
        *kept = id.value();
        record.vlan_count += 1;
    }
    let header_end = tcp.payload().as_ptr().addr() - frame.as_ptr().addr();
    Some(Parsed { record, header_end })
}

/// Compares the two on one frame. Returns whether both found a segment.
#[track_caller]
fn agree(frame: &[u8], name: &str) -> bool {
    let (Some(theirs), Ok(ours)) = (theirs(frame), ours(frame)) else { return false };
    assert_eq!(ours, theirs, "{name}: {frame:02x?}");
    true
}

/// The frames of a classic pcap file.
fn frames_of(name: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../collector/tests/captures").join(name);
    let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut reader = LegacyPcapReader::new(1 << 16, file).expect("a pcap header");
    let mut frames = Vec::new();
    loop {
        match reader.next() {
            Ok((used, block)) => {
                if let PcapBlockOwned::Legacy(packet) = block {
                    assert_eq!(packet.caplen, packet.origlen, "etherparse takes whole frames");
                    frames.push(packet.data.to_vec());
                }
                reader.consume(used);
            }
            Err(PcapError::Incomplete(_)) => reader.refill().expect("a readable file"),
            Err(PcapError::Eof) => return frames,
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

#[test]
fn every_packet_of_the_shipped_captures_is_the_same_segment() {
    for (name, packets) in [("f5-side.pcap", 22), ("server-side.pcap", 31)] {
        let frames = frames_of(name);
        assert_eq!(frames.len(), packets, "{name}");
        for (n, frame) in frames.iter().enumerate() {
            assert!(
                agree(frame, &format!("{name}, packet {}", n + 1)),
                "{name}: {:?}",
                ours(frame)
            );
        }
    }
}

#[test]
fn the_table_of_frames_is_the_same_to_both() {
    let agreed: Vec<String> = cases::all()
        .into_iter()
        .filter(|case| agree(&case.frame, &case.name))
        .map(|case| case.name)
        .collect();
    for name in
        ["ipv4 syn", "ipv6 syn", "qinq", "three tags", "padding", "10 words of ipv4 options"]
    {
        assert!(agreed.iter().any(|agreed| agreed == name), "{name} is not in {agreed:?}");
    }
}

#[test]
fn damaged_frames_are_the_same_to_both() {
    let mut runner = TestRunner::deterministic();
    let damage = prop::collection::vec((0..90usize, any::<u8>()), 1..3);
    let (mut both, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let record = records().new_tree(&mut runner).expect("a record").current();
        let mut frame = ethernet(&record);
        for (at, value) in damage.new_tree(&mut runner).expect("damage").current() {
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        if agree(&frame, "damaged") {
            both += 1;
        } else if theirs(&frame).is_some() {
            panic!("only etherparse finds a segment, ours says {:?}: {frame:02x?}", ours(&frame));
        } else {
            refused += 1;
        }
    }
    assert!(both > 10_000 && refused > 500, "{both} alike, {refused} refused by etherparse");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_built_frame_is_the_same_to_both(record in records()) {
        prop_assert!(agree(&ethernet(&record), "built"));
    }
}
