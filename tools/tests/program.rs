//! The XDP program in the kernel, frame by frame, against the host's build of the same parser. Needs
//! root; without it every test says that it was skipped.

use xdpwatch_prog::counters::{Outcome, extra};
use xdpwatch_prog::head::Head;
use xdpwatch_prog::maps::INTERFACES_MAX;
use xdpwatch_prog::record::{Record, flags, marks};
use xdpwatch_prog::select::tuple_hash;
use xdpwatch_prog::wire::tunnel::Wanted;
use xdpwatch_prog::wire::{self, Link, Located, Skip};
use xdpwatch_tools::cases::{self, SYN_END};
use xdpwatch_tools::frames::{ethernet, ip};
use xdpwatch_tools::kernel::{Kernel, Settings, Verdict, unavailable};
use xdpwatch_tools::selection::Selection;
use xdpwatch_tools::tunnels::{self, Erspan, Gre, Outer};

const DROP: u32 = 1;
const PASS: u32 = 2;
const REDIRECT: u32 = 4;

/// Loads the program, or says why the test can't run and ends it.
macro_rules! kernel {
    ($test:expr, $settings:expr) => {{
        if let Some(reason) = unavailable() {
            println!("SKIPPED: {}: {reason}", $test);
            return;
        }
        Kernel::load(&$settings).unwrap_or_else(|error| panic!("{error:#}"))
    }};
}

/// Runs one frame and returns what was done with it and how it was counted.
#[track_caller]
fn run(kernel: &mut Kernel, frame: &[u8]) -> (Verdict, Outcome) {
    let before = kernel.counts().unwrap();
    let verdict = kernel.run(frame).unwrap();
    let after = kernel.counts().unwrap();
    let changed = after.since(&before);
    let [(outcome, passed, 1)] = changed[..] else { panic!("counted as {changed:?}") };
    assert_eq!(passed, verdict.action == PASS, "{outcome:?}");
    assert_eq!(after.extra(extra::SEEN), before.extra(extra::SEEN) + 1);
    assert_eq!(after.extra(extra::BYTES), before.extra(extra::BYTES) + frame.len() as u64);
    assert_eq!(after.accounted(), after.extra(extra::SEEN));
    (verdict, outcome)
}

/// The frame was handed over: head, then the frame cut where its headers end.
#[track_caller]
fn assert_handed_over(verdict: &Verdict, frame: &[u8], header_end: usize) {
    assert_eq!(verdict.action, REDIRECT);
    let (head, cut) = Head::split(&verdict.frame).unwrap();
    assert_eq!((head.queue, head.frame_len as usize), (0, frame.len()));
    assert_ne!(head.at_ns, 0);
    assert_eq!(cut, &frame[..header_end.min(frame.len())]);
}

/// What the host's build of the program's own parser says.
fn locate(frame: &[u8]) -> Result<Located, Skip> {
    wire::locate(&frame, 0, frame.len())
}

/// The program did with the frame what the host's build of its parser says.
#[track_caller]
fn assert_as_on_host(kernel: &mut Kernel, frame: &[u8], expected: Result<usize, Skip>) {
    let (verdict, outcome) = run(kernel, frame);
    match expected {
        Ok(header_end) => {
            assert_eq!(outcome, Outcome::Selected);
            assert_handed_over(&verdict, frame, header_end);
        }
        Err(skip) => {
            assert_eq!(outcome, Outcome::Skipped(skip));
            assert_eq!(verdict, Verdict { action: DROP, frame: frame.to_vec() });
        }
    }
}

#[test]
fn both_programs_pass_the_verifier_in_every_setting() {
    let shares = [1, INTERFACES_MAX as u8];
    let kinds = shares.into_iter().flat_map(|interfaces| [(interfaces, false), (interfaces, true)]);
    for (interfaces, frags) in kinds {
        for tap in [false, true] {
            for encap in 0..=4 {
                let encap = Wanted::from_number(encap);
                let settings = Settings { interfaces, frags, tap, encap, ..Settings::default() };
                let test = "both_programs_pass_the_verifier_in_every_setting";
                let mut kernel = kernel!(test, settings);
                let verified = kernel.verified_instructions().unwrap();
                println!("{settings:?}: {verified} verified");
                // Half the verifier's patience: other kernels count differently.
                assert!(verified < 500_000, "{verified} instructions verified");
            }
        }
    }
}

#[test]
fn every_case_is_as_on_the_host() {
    let settings = Settings { select_all: true, ..Settings::default() };
    for frags in [false, true] {
        let mut kernel =
            kernel!("every_case_is_as_on_the_host", Settings { frags, ..settings.clone() });
        for case in cases::all() {
            println!("{}", case.name);
            assert_eq!(locate(&case.frame).map(|located| located.header_end), case.plain);
            assert_as_on_host(&mut kernel, &case.frame, case.plain);
        }
    }
}

#[test]
fn every_cut_of_every_case_is_as_on_the_host() {
    let settings = Settings { select_all: true, ..Settings::default() };
    let mut kernel = kernel!("every_cut_of_every_case_is_as_on_the_host", settings);
    for case in cases::all() {
        for len in 14..case.frame.len() {
            let frame = &case.frame[..len];
            let expected = locate(frame).map(|located| located.header_end);
            assert_as_on_host(&mut kernel, frame, expected);
        }
    }
}

#[test]
fn damaged_frames_are_as_on_the_host() {
    let settings = Settings { select_all: true, ..Settings::default() };
    let mut kernel = kernel!("damaged_frames_are_as_on_the_host", settings);
    let mut found = 0;
    for case in cases::all() {
        // Every byte of the headers, turned into each of these.
        for at in 12..case.frame.len().min(140) {
            for value in [0x00, 0x01, 0x06, 0x2c, 0x33, 0x3c, 0x45, 0x4f, 0x81, 0xff] {
                let mut frame = case.frame.clone();
                frame[at] = value;
                let expected = locate(&frame).map(|located| located.header_end);
                found += usize::from(expected.is_ok());
                assert_as_on_host(&mut kernel, &frame, expected);
            }
        }
    }
    assert!(found > 1000, "only {found} of the damaged frames were still segments");
}

#[test]
fn where_both_parse_the_host_finds_the_same_segment() {
    for case in cases::all() {
        let Ok(located) = locate(&case.frame) else { continue };
        let frame_len = case.frame.len() as u32;
        let parsed = wire::parse(&case.frame, frame_len, 0, Link::Ethernet).unwrap();
        let record = parsed.record;
        assert_eq!(parsed.header_end, located.header_end, "{}", case.name);
        assert_eq!(record.src_addr, wire::ip::octets(&located.network.src), "{}", case.name);
        assert_eq!(record.dst_addr, located.network.dst_addr(), "{}", case.name);
        let header = located.header;
        let ports = (record.src_port, record.dst_port, record.flags, record.seq);
        assert_eq!(ports, (header.src_port, header.dst_port, header.flags, header.seq));
        assert!(!record.has_mark(marks::ENCAPSULATED));
    }
}

#[test]
fn the_filter_slot_is_the_hosts_hash() {
    let settings = Settings { seed: 0x1234_5678_9abc_def0, ..Settings::default() };
    for case in cases::all() {
        let Ok(located) = locate(&case.frame) else { continue };
        let mut kernel = kernel!("the_filter_slot_is_the_hosts_hash", settings);
        run(&mut kernel, &case.frame);
        let slot = tuple_hash(&located, settings.seed) as u32 & (settings.slots - 1);
        let written: Vec<u32> =
            kernel.transitions().unwrap().into_iter().map(|(slot, _)| slot).collect();
        assert_eq!(written, [slot], "{}", case.name);
    }
}

#[test]
fn the_program_selects_what_the_host_says_it_does() {
    let settings = Settings { slots: 1 << 8, ..Settings::default() };
    let mut kernel = kernel!("selection", settings);
    let mut host = Selection::new(settings.slots, settings.seed);
    let mut selected = [0; 2];
    // Few slots and many tuples: strangers share them. Each window is longer than the test takes.
    for n in 0..2_000u32 {
        let src_port = (n.wrapping_mul(2_654_435_761) >> 20) as u16 | 1;
        let kind = match n % 97 {
            20 => flags::SYN,
            21 => flags::FIN | flags::ACK,
            22 => flags::RST,
            _ => flags::ACK,
        };
        let frame = ethernet(&Record { src_port, flags: kind, ..cases::syn() });
        let verdict = kernel.run(&frame).unwrap();
        let expected = host.selects(&locate(&frame).unwrap(), 1);
        assert_eq!(verdict.action == REDIRECT, expected, "segment {n}");
        selected[usize::from(expected)] += 1;
    }
    assert!(selected[0] > 1000 && selected[1] > 80, "{selected:?}");
}

#[test]
fn a_syn_opens_the_tuples_transition_in_both_directions() {
    let name = "a_syn_opens_the_tuples_transition_in_both_directions";
    for syn in [cases::syn(), cases::syn6()] {
        let mut kernel = kernel!(name, Settings::default());
        let data = Record { flags: flags::ACK | flags::PSH, ..syn };
        let other = Record { src_port: 1, ..data };
        let end = locate(&ethernet(&syn)).unwrap().header_end;
        let dropped = |record: &Record| Verdict { action: DROP, frame: ethernet(record) };

        assert_eq!(run(&mut kernel, &ethernet(&data)), (dropped(&data), Outcome::Unselected));
        assert_handed_over(&run(&mut kernel, &ethernet(&syn)).0, &ethernet(&syn), end);
        for record in [data, cases::reply(&syn, flags::ACK)] {
            let frame = ethernet(&record);
            assert_handed_over(&run(&mut kernel, &frame).0, &frame, end);
        }
        assert_eq!(run(&mut kernel, &ethernet(&other)), (dropped(&other), Outcome::Unselected));
        assert_eq!(kernel.counts().unwrap().extra(extra::IN_TRANSITION), 2);
    }
}

#[test]
fn transitions_last_their_windows_and_resets_open_none() {
    let name = "transitions_last_their_windows_and_resets_open_none";
    let hour = 3_600_000_000_000;
    for (opener, after_syn, after_fin, expected) in [
        (flags::SYN, hour, 0, Outcome::Selected),
        (flags::SYN, 0, hour, Outcome::Unselected),
        (flags::FIN, 0, hour, Outcome::Selected),
        (flags::FIN | flags::ACK, hour, 0, Outcome::Unselected),
        (flags::RST, hour, hour, Outcome::Unselected),
    ] {
        let windows =
            Settings { syn_window_ns: after_syn, fin_window_ns: after_fin, ..Settings::default() };
        let mut kernel = kernel!(name, windows);
        let syn = cases::syn();
        let opened = run(&mut kernel, &ethernet(&Record { flags: opener, ..syn })).1;
        assert_eq!(opened, Outcome::Selected);
        let data = ethernet(&Record { flags: flags::ACK, ..syn });
        assert_eq!(run(&mut kernel, &data).1, expected, "after {opener:#x}");
    }
}

#[test]
fn a_shorter_window_never_takes_from_a_longer_one() {
    let name = "a_shorter_window_never_takes_from_a_longer_one";
    let mut kernel = kernel!(name, Settings::default());
    let mut deadlines = Vec::new();
    for tcp_flags in [flags::SYN, flags::FIN, flags::SYN] {
        run(&mut kernel, &ethernet(&Record { flags: tcp_flags, ..cases::syn() }));
        deadlines.push(kernel.transitions().unwrap()[0].1);
    }
    assert!(deadlines[1] >= deadlines[0] + 60_000_000_000);
    assert_eq!(deadlines[2], deadlines[1]);
}

#[test]
fn without_a_socket_nothing_is_cut() {
    let settings = Settings { socket: false, pass_other: true, ..Settings::default() };
    let mut kernel = kernel!("without_a_socket_nothing_is_cut", settings);
    let frame = ethernet(&cases::syn());
    let uncut = Verdict { action: DROP, frame: frame.clone() };
    assert_eq!(run(&mut kernel, &frame), (uncut, Outcome::NoSocket));
}

#[test]
fn skipped_frames_pass_where_that_is_asked_for_and_segments_do_not() {
    let name = "skipped_frames_pass_where_that_is_asked_for_and_segments_do_not";
    let mut kernel = kernel!(name, Settings { pass_other: true, ..Settings::default() });
    let arp = tunnels::ethernet(0x0806, &[0; 46]);
    let passed = Verdict { action: PASS, frame: arp.clone() };
    assert_eq!(run(&mut kernel, &arp), (passed, Outcome::Skipped(Skip::NotIp)));
    let data = ethernet(&Record { flags: flags::ACK, ..cases::syn() });
    assert_eq!(run(&mut kernel, &data).0.action, DROP);
}

#[test]
fn tap_copies_headers_and_passes_every_frame_untouched() {
    let name = "tap_copies_headers_and_passes_every_frame_untouched";
    let settings = Settings { tap: true, socket: false, ..Settings::default() };
    for frags in [false, true] {
        let mut kernel = kernel!(name, Settings { frags, ..settings.clone() });
        let syn = cases::syn();
        let selected = [ethernet(&syn), ethernet(&cases::syn6())];
        let data = ethernet(&Record { flags: flags::ACK, src_port: 5, ..syn });
        let arp = tunnels::ethernet(0x0806, &[0; 46]);
        for (frame, expected) in [
            (&selected[0], Outcome::Selected),
            (&selected[1], Outcome::Selected),
            (&data, Outcome::Unselected),
            (&arp, Outcome::Skipped(Skip::NotIp)),
        ] {
            let untouched = Verdict { action: PASS, frame: frame.clone() };
            assert_eq!(run(&mut kernel, frame), (untouched, expected));
        }
        let records = kernel.take_headers().unwrap();
        assert_eq!(records.len(), selected.len());
        for (record, frame) in records.iter().zip(&selected) {
            let (head, headers) = Head::split(record).unwrap();
            assert_eq!(head.frame_len as usize, frame.len());
            assert_eq!(headers, &frame[..locate(frame).unwrap().header_end]);
        }
    }
}

#[test]
fn a_full_ring_is_counted_and_frames_still_pass() {
    let settings = Settings { tap: true, ring_bytes: 4096, ..Settings::default() };
    let mut kernel = kernel!("a_full_ring_is_counted_and_frames_still_pass", settings);
    let frame = ethernet(&cases::syn());
    for _ in 0..100 {
        assert_eq!(run(&mut kernel, &frame).0.action, PASS);
    }
    let counts = kernel.counts().unwrap();
    let (copied, full) = (counts.of(Outcome::Selected, true), counts.of(Outcome::RingFull, true));
    assert_eq!(copied + full, 100);
    assert!(copied > 10 && full > 10, "{copied} copied, {full} not");
    assert_eq!(kernel.take_headers().unwrap().len() as u64, copied);
}

/// For each encapsulation that the program can unwrap, frames of it.
fn encapsulated(outer: Outer) -> [(Wanted, Vec<Vec<u8>>); 4] {
    let (syn, packet) = (ethernet(&cases::syn()), ip(&cases::syn6()));
    let keyed = Gre { checksum: true, key: Some(5), sequence: Some(1) };
    let options = [1, 2, 3, 1, 9, 9, 9, 9];
    let erspan =
        [Erspan::I, Erspan::II, Erspan::III { subheader: false }, Erspan::III { subheader: true }];
    [
        (Wanted::Vxlan, vec![outer.vxlan(7, &syn)]),
        (
            Wanted::Geneve,
            vec![outer.geneve(7, &[], 0x6558, &syn), outer.geneve(7, &options, 0x86dd, &packet)],
        ),
        (Wanted::Gre, vec![outer.gre(keyed, 0x86dd, &packet), outer.gre(keyed, 0x6558, &syn)]),
        (Wanted::Erspan, erspan.map(|kind| outer.erspan(kind, &syn)).to_vec()),
    ]
}

/// The program set to unwrap this encapsulation where it is addressed to `addr`.
fn unwrapping(wanted: Wanted, addr: [u8; 16]) -> Settings {
    Settings { encap: Some(wanted), local_addrs: vec![addr], ..Settings::default() }
}

#[test]
fn the_wanted_encapsulation_is_unwrapped_and_all_else_passes_untouched() {
    let name = "the_wanted_encapsulation_is_unwrapped_and_all_else_passes_untouched";
    for outer in [Outer::V4, Outer::V6] {
        for (wanted, _) in encapsulated(outer) {
            let mut kernel = kernel!(name, unwrapping(wanted, outer.local_addr()));
            let frames = encapsulated(outer);
            for (kind, frame) in
                frames.iter().flat_map(|(kind, frames)| frames.iter().map(move |f| (*kind, f)))
            {
                let (verdict, outcome) = run(&mut kernel, frame);
                if kind == wanted {
                    let parsed = wire::parse(frame, 0, 0, Link::Ethernet).unwrap();
                    assert_eq!(outcome, Outcome::Selected);
                    assert_handed_over(&verdict, frame, parsed.header_end);
                } else {
                    assert_eq!(outcome, Outcome::OtherTraffic, "{wanted:?} and {kind:?}");
                    assert_eq!(verdict, Verdict { action: PASS, frame: frame.clone() });
                }
            }
            for frame in [ethernet(&cases::syn()), tunnels::ethernet(0x0806, &[0; 46])] {
                let passed = Verdict { action: PASS, frame: frame.clone() };
                assert_eq!(run(&mut kernel, &frame), (passed, Outcome::OtherTraffic));
            }
        }
    }
}

#[test]
fn every_cut_of_an_encapsulated_frame_is_as_on_the_host() {
    let name = "every_cut_of_an_encapsulated_frame_is_as_on_the_host";
    for outer in [Outer::V4, Outer::V6] {
        for (wanted, frames) in encapsulated(outer) {
            let mut kernel = kernel!(name, unwrapping(wanted, outer.local_addr()));
            let longer = frames.iter().filter(|_| outer == Outer::V6).map(|frame| {
                // The limit on nested tunnels that Linux sends in front of its own (RFC 2473).
                let limit = (60, [0, 0, 4, 1, 4, 1, 0, 0].as_slice());
                tunnels::with_ipv6_extensions(frame, &[limit])
            });
            for frame in longer.chain(frames.iter().cloned()) {
                for len in 14..=frame.len() {
                    let cut = &frame[..len];
                    let is_local = |addr: &[u8; 16]| *addr == outer.local_addr();
                    match wire::locate_in_tunnel(&cut, len, wanted, is_local) {
                        Some(found) => {
                            let expected = found.map(|located| located.header_end);
                            assert_as_on_host(&mut kernel, cut, expected);
                        }
                        None => assert_eq!(run(&mut kernel, cut).1, Outcome::OtherTraffic),
                    }
                }
                assert_eq!(run(&mut kernel, &frame).1, Outcome::Selected);
            }
        }
    }
}

#[test]
fn an_encapsulation_addressed_to_another_host_passes_untouched() {
    let name = "an_encapsulation_addressed_to_another_host_passes_untouched";
    for (wanted, frames) in encapsulated(Outer::V4) {
        let mut kernel = kernel!(name, unwrapping(wanted, Outer::V6.local_addr()));
        for frame in frames {
            let passed = Verdict { action: PASS, frame: frame.clone() };
            assert_eq!(run(&mut kernel, &frame), (passed, Outcome::OtherTraffic));
        }
    }
}

#[test]
fn encapsulated_segments_are_selected_by_the_inner_tuple() {
    let name = "encapsulated_segments_are_selected_by_the_inner_tuple";
    let settings = unwrapping(Wanted::Vxlan, Outer::V4.local_addr());
    let mut kernel = kernel!(name, settings);
    let syn = cases::syn();
    let wrap = |record: &Record| Outer::V4.vxlan(7, &ethernet(record));
    let data = Record { flags: flags::ACK, ..syn };
    assert_eq!(run(&mut kernel, &wrap(&data)).1, Outcome::Unselected);
    assert_eq!(run(&mut kernel, &wrap(&syn)).1, Outcome::Selected);
    assert_eq!(run(&mut kernel, &wrap(&cases::reply(&syn, flags::ACK))).1, Outcome::Selected);
    let other = Record { src_port: 5, ..data };
    assert_eq!(run(&mut kernel, &wrap(&other)).1, Outcome::Unselected);
    let slot = tuple_hash(&locate(&ethernet(&syn)).unwrap(), settings.seed) as u32;
    assert_eq!(kernel.transitions().unwrap()[0].0, slot & (settings.slots - 1));
    let arp = Outer::V4.vxlan(7, &tunnels::ethernet(0x0806, &[0; 46]));
    assert_eq!(run(&mut kernel, &arp).1, Outcome::Skipped(Skip::NotIp));
}

#[test]
fn jumbo_frames_are_cut_into_one_buffer() {
    let settings = Settings { frags: true, ..Settings::default() };
    let mut kernel = kernel!("jumbo_frames_are_cut_into_one_buffer", settings);
    let frame = ethernet(&Record { payload_len: 8900, ..cases::syn() });
    let (verdict, outcome) = run(&mut kernel, &frame);
    assert_eq!(outcome, Outcome::Selected);
    assert_handed_over(&verdict, &frame, SYN_END);
}
