//! The host's parser: the table of named frames, frames within frames, every cut, and any bytes.

mod common;

use common::records;
use proptest::prelude::*;
use proptest::sample::select;
use xdpwatch_prog::record::{Record, marks};
use xdpwatch_prog::wire::{self, Link, Parsed, Skip};
use xdpwatch_tools::cases;
use xdpwatch_tools::frames::{ethernet, ip};
use xdpwatch_tools::tunnels::{self, Erspan, Gre, Outer};

const LINKS: [Link; 6] =
    [Link::Ethernet, Link::RawIp, Link::LinuxCooked, Link::LinuxCooked2, Link::Null, Link::Loop];

/// A segment needs 20 bytes of IP and the first 16 of TCP.
const LEAST: usize = 20 + 16;

fn parse(frame: &[u8]) -> Result<Parsed, Skip> {
    wire::parse(frame, frame.len() as u32, 7, Link::Ethernet)
}

#[test]
fn every_case_is_read_or_refused_as_the_table_says() {
    for case in cases::all() {
        let parsed = parse(&case.frame);
        assert_eq!(parsed.map(|parsed| parsed.header_end), case.host, "{}", case.name);
        let Ok(Parsed { record, .. }) = parsed else { continue };
        let sent = if record.has_mark(marks::IPV6) { cases::syn6() } else { cases::syn() };
        assert_eq!((record.src_addr, record.src_port), (sent.src_addr, sent.src_port));
        assert_eq!((record.dst_addr, record.dst_port), (sent.dst_addr, sent.dst_port));
        assert_eq!((record.seq, record.flags, record.vni), (sent.seq, sent.flags, case.vni));
        assert_eq!((record.at_ns, record.frame_len as usize), (7, case.frame.len()));
    }
}

#[test]
fn marks_say_how_far_a_segment_can_be_trusted() {
    let marked = |name: &str| {
        let case = cases::all().into_iter().find(|case| case.name == name);
        let case = case.unwrap_or_else(|| panic!("no case {name}"));
        parse(&case.frame).unwrap_or_else(|skip| panic!("{name}: {skip:?}")).record
    };
    let all = marks::LENGTH_FROM_FRAME | marks::FIRST_FRAGMENT | marks::OPTIONS_CUT;
    for (name, mark) in [
        ("ipv4 syn", 0),
        ("ip length 0", marks::LENGTH_FROM_FRAME),
        ("first fragment", marks::FIRST_FRAGMENT),
        ("ipv6 first fragment", marks::FIRST_FRAGMENT),
        ("cut in tcp options", marks::OPTIONS_CUT),
    ] {
        assert_eq!(marked(name).marks & all, mark, "{name}");
    }
    assert_eq!(marked("ip length 0").payload_len, cases::syn().payload_len);
    assert_eq!(marked("padding").payload_len, 0);
    assert_eq!(marked("three tags").vlans, [6, 7]);
    let tunnelled = marked("vxlan tagged over V6");
    assert!(tunnelled.has_mark(marks::ENCAPSULATED) && tunnelled.vlan_count == 1);
    assert!(!marked("mpls").has_mark(marks::ENCAPSULATED));
}

#[test]
fn every_link_type_leads_to_the_same_segment() {
    for record in [cases::syn(), cases::syn6()] {
        let packet = ip(&record);
        let (ether_type, family) =
            if record.has_mark(marks::IPV6) { ([0x86, 0xdd], 30u32) } else { ([8, 0], 2) };
        let after = |header: &[u8]| [header, &packet].concat();
        let cooked = [&[0; 14], &ether_type[..]].concat();
        let cooked2 = [&ether_type[..], &[0; 18]].concat();
        let frames = [
            (Link::RawIp, packet.clone()),
            (Link::LinuxCooked, after(&cooked)),
            (Link::LinuxCooked2, after(&cooked2)),
            (Link::Null, after(&family.to_le_bytes())),
            (Link::Null, after(&family.to_be_bytes())),
            (Link::Loop, after(&family.to_be_bytes())),
        ];
        for (link, frame) in frames {
            let frame_len = frame.len() as u32;
            let read = wire::parse_record(&frame, frame_len, record.at_ns, link);
            assert_eq!(read, Ok(Record { frame_len, ..record }), "{link:?}");
        }
    }
}

#[test]
fn a_cut_frame_gives_the_same_segment_or_none() {
    for case in cases::all() {
        let frame_len = case.frame.len() as u32;
        let whole = wire::parse(&case.frame, frame_len, 0, Link::Ethernet);
        for len in 0..case.frame.len() {
            let cut = wire::parse(&case.frame[..len], frame_len, 0, Link::Ethernet);
            match (cut, whole) {
                (Ok(cut), Ok(whole)) if len >= whole.header_end => assert_eq!(cut, whole),
                (Ok(cut), Ok(whole)) => {
                    assert!(cut.record.has_mark(marks::OPTIONS_CUT), "{}: {len}", case.name);
                    assert_eq!(without_options(cut), without_options(whole), "{}", case.name);
                }
                // UDP cut before its ports can't be told from UDP that is no tunnel.
                (Err(skip), whole) => assert!(
                    matches!(skip, Skip::Short | Skip::Udp) || whole == Err(skip),
                    "{}: {len}: {skip:?}",
                    case.name
                ),
                (Ok(_), Err(skip)) => panic!("{}: {len}: whole is {skip:?}", case.name),
            }
        }
    }
}

/// The same segment as if it had carried no options.
fn without_options(parsed: Parsed) -> Parsed {
    let options = marks::OPTIONS_CUT | marks::TIMESTAMPS | marks::WINDOW_SCALE;
    let record = Record {
        marks: parsed.record.marks & !options,
        ts_val: 0,
        ts_ecr: 0,
        window_scale: 0,
        ..parsed.record
    };
    Parsed { record, ..parsed }
}

/// Puts the segment, as a frame, into the tunnel of this number. Returns it with the virtual network
/// that the tunnel names.
fn wrap(number: usize, outer: Outer, frame: &[u8], vni: u32) -> (Vec<u8>, Option<u32>) {
    let keyed = Gre { key: Some(vni << 8 | 0x77), ..Gre::default() };
    let control_word = [&[0; 4], frame].concat();
    let vni_or_none = Some(vni).filter(|_| number < 3);
    let wrapped = match number {
        0 => outer.vxlan(vni, frame),
        1 => outer.geneve(vni, &[0; 12], 0x6558, frame),
        2 => outer.gre(keyed, 0x6558, frame),
        3 => outer.gre(Gre { checksum: true, ..Gre::default() }, 0x6558, frame),
        4 => outer.erspan(Erspan::I, frame),
        5 => outer.erspan(Erspan::II, frame),
        6 => outer.erspan(Erspan::III { subheader: false }, frame),
        7 => outer.erspan(Erspan::III { subheader: true }, frame),
        _ => tunnels::mpls(&[16, vni & 0xf_ffff], &control_word),
    };
    (wrapped, vni_or_none)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_built_is_read_through_any_tunnels(
        record in records(),
        layers in prop::collection::vec((0..9usize, any::<bool>(), 0..1u32 << 24), 0..4),
    ) {
        let mut frame = ethernet(&record);
        let mut expected = record;
        let mut vni_found = None;
        for (number, is_v6, vni) in layers {
            let outer = if is_v6 { Outer::V6 } else { Outer::V4 };
            let (wrapped, named) = wrap(number, outer, &frame, vni);
            frame = wrapped;
            if number < 8 {
                expected.marks |= marks::ENCAPSULATED;
            }
            // The innermost tunnel that names one tells; wrapping goes outwards.
            vni_found = vni_found.or(named);
        }
        expected.vni = vni_found.unwrap_or(0);
        expected.frame_len = frame.len() as u32;
        let header_end = frame.len() - record.payload_len as usize;
        let parsed = wire::parse(&frame, frame.len() as u32, record.at_ns, Link::Ethernet);
        prop_assert_eq!(parsed, Ok(Parsed { record: expected, header_end }));
    }

    #[test]
    fn any_bytes_are_a_segment_or_a_reason(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        link in select(&LINKS[..]),
        frame_len in any::<u32>(),
    ) {
        if let Ok(parsed) = wire::parse(&bytes, frame_len, 7, link) {
            prop_assert!(bytes.len() >= LEAST && parsed.header_end >= LEAST + 4);
        }
    }

    #[test]
    fn damaged_frames_are_a_segment_or_a_reason(
        case in select(cases::all()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        kept in any::<prop::sample::Index>(),
        link in select(&LINKS[..]),
        cut in any::<bool>(),
    ) {
        let mut frame = case.frame;
        for (at, value) in damage {
            let at = at.index(frame.len());
            frame[at] = value;
        }
        let len = if cut { kept.index(frame.len()) } else { frame.len() };
        let frame = &frame[..len];
        if let Ok(parsed) = wire::parse(frame, frame.len() as u32, 7, link) {
            prop_assert!(frame.len() >= LEAST && parsed.header_end >= LEAST + 4);
        }
        // The program's parser finds no segment that the host's does not find alike.
        if let Ok(located) = wire::locate(&frame, 0, frame.len()) {
            let parsed = parse(frame).map(|parsed| (parsed.header_end, parsed.record.src_port));
            prop_assert_eq!(parsed, Ok((located.header_end, located.header.src_port)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..Default::default() })]

    /// The frame that is read in one go gives what it gives as bare IP, which is read step by step.
    #[test]
    fn the_plain_frame_is_read_as_any_other(
        record in records(),
        cut in 0usize..90,
        damage in prop::collection::vec((14usize..60, any::<u8>()), 0..3),
    ) {
        let mut frame = ethernet(&Record { vlan_count: 0, ..record });
        for (at, byte) in damage {
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
        }
        let cut = &frame[..frame.len().min(14 + cut)];
        let plain = xdpwatch_prog::plain::parse(cut, frame.len() as u32, 7, Link::Ethernet);
        let (bare, len) = (cut.get(14..).unwrap_or_default(), frame.len() as u32 - 14);
        if let Some(plain) = plain {
            let stepwise = wire::parse(bare, len, 7, Link::RawIp);
            let expected = stepwise.map(|parsed| Parsed {
                record: Record { frame_len: len + 14, ..parsed.record },
                header_end: parsed.header_end + 14,
            });
            prop_assert_eq!(Ok(plain), expected);
        }
    }
}
