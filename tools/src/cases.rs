//! A table of named frames: everything that the parser knows, and what it must refuse. Tests of the
//! host's parser, of the kernel's and of one against the other all run through it.

use xdpwatch_prog::record::{Record, flags, marks};
use xdpwatch_prog::wire::Skip;

use crate::frames::{ethernet, ip};
use crate::tunnels::{self, Erspan, Gre, Outer};

/// A frame and what both parsers must make of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is.
    pub name: String,
    /// Its bytes.
    pub frame: Vec<u8>,
    /// What the program says without `--encap`: where the headers end, or why it skips.
    pub plain: Result<usize, Skip>,
    /// What the host says likewise.
    pub host: Result<usize, Skip>,
    /// The virtual network that the host finds.
    pub vni: u32,
}

/// A SYN over IPv4 with options and payload, as TCP Fast Open sends.
#[must_use]
pub fn syn() -> Record {
    let mut record = Record {
        src_port: 57011,
        dst_port: 8080,
        seq: 0x0102_0304,
        ts_val: 3_134_415_069,
        window: 29200,
        window_scale: 7,
        payload_len: 40,
        ip_id: 9,
        ttl: 64,
        flags: flags::SYN,
        marks: marks::TIMESTAMPS | marks::WINDOW_SCALE,
        ..Record::default()
    };
    record.src_addr[10..].copy_from_slice(&[0xff, 0xff, 10, 24, 20, 249]);
    record.dst_addr[10..].copy_from_slice(&[0xff, 0xff, 10, 24, 20, 26]);
    record
}

/// The same over IPv6.
#[must_use]
pub fn syn6() -> Record {
    let mut record = Record { ip_id: 0, ..syn() };
    record.marks |= marks::IPV6;
    record.src_addr[..2].copy_from_slice(&[0x20, 1]);
    record.dst_addr[..2].copy_from_slice(&[0x20, 1]);
    record
}

/// The segment that answers `record`, with `tcp_flags`.
#[must_use]
pub fn reply(record: &Record, tcp_flags: u8) -> Record {
    Record {
        src_addr: record.dst_addr,
        dst_addr: record.src_addr,
        src_port: record.dst_port,
        dst_port: record.src_port,
        flags: tcp_flags,
        ..*record
    }
}

/// The headers of [`syn`]: Ethernet, IPv4, TCP with 16 bytes of options.
pub const SYN_END: usize = 14 + 20 + 36;
const SYN6_END: usize = 14 + 40 + 36;

/// The whole table.
#[must_use]
pub fn all() -> Vec<Case> {
    let mut cases = plain();
    cases.extend(refused());
    for outer in [Outer::V4, Outer::V6] {
        cases.extend(wrapped(outer));
    }
    cases.extend(under_ip());
    cases
}

fn case(name: &str, frame: Vec<u8>, end: Result<usize, Skip>) -> Case {
    Case { name: name.into(), frame, plain: end, host: end, vni: 0 }
}

/// Frames that both parsers read.
fn plain() -> Vec<Case> {
    let (four, six) = (ethernet(&syn()), ethernet(&syn6()));
    let vlans = |count, vlans| ethernet(&Record { vlan_count: count, vlans, ..syn() });
    let mut triple = vlans(2, [7, 8]);
    triple.splice(12..12, [0x91, 0, 0, 6]);
    let mut no_length = four.clone();
    no_length[16..18].fill(0);
    let padded = [ethernet(&Record { payload_len: 0, ..syn() }), vec![0xaa; 30]].concat();
    let bare = Record { marks: 0, window_scale: 0, payload_len: 0, ..syn() };
    let hop: &[u8] = &[0, 1, 5, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let one: &[u8] = &[0, 0, 1, 4, 0, 0, 0, 0];
    let first: &[u8] = &[0, 0, 0, 1, 0, 0, 0, 9];
    let ah: &[u8] = &[0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9];
    let with = |list: &[(u8, &[u8])]| tunnels::with_ipv6_extensions(&six, list);
    let mut table = vec![
        case("ipv4 syn", four.clone(), Ok(SYN_END)),
        case("ipv6 syn", six.clone(), Ok(SYN6_END)),
        case("no tcp options", ethernet(&bare), Ok(54)),
        case("802.1q", vlans(1, [100, 0]), Ok(SYN_END + 4)),
        case("qinq", vlans(2, [100, 7]), Ok(SYN_END + 8)),
        case("three tags", triple, Ok(SYN_END + 12)),
        case("ip length 0", no_length, Ok(SYN_END)),
        case("padding", padded, Ok(SYN_END)),
        case("ah over ipv4", tunnels::with_ipv4_authentication(&four), Ok(SYN_END + 24)),
        case("first fragment", tunnels::with_ipv4_fragment(&four, 0, true), Ok(SYN_END)),
        case("ipv6 hop-by-hop", with(&[(0, hop)]), Ok(SYN6_END + 16)),
        case("ipv6 destination", with(&[(60, one)]), Ok(SYN6_END + 8)),
        case("ipv6 routing", with(&[(43, hop)]), Ok(SYN6_END + 16)),
        case("ipv6 first fragment", with(&[(44, first)]), Ok(SYN6_END + 8)),
        case("ipv6 ah", with(&[(51, ah)]), Ok(SYN6_END + 24)),
        case(
            "ipv6 five extensions",
            with(&[(0, hop), (60, one), (43, hop), (44, first), (51, ah)]),
            Ok(SYN6_END + 16 + 8 + 16 + 8 + 24),
        ),
    ];
    for words in 1..=10 {
        let options = [[1, 1, 1, 1]; 10].concat();
        let frame = tunnels::with_ipv4_options(&four, &options[..words * 4]);
        table.push(case(&format!("{words} words of ipv4 options"), frame, Ok(SYN_END + words * 4)));
    }
    table
}

/// Frames that neither reads.
fn refused() -> Vec<Case> {
    let (four, six) = (ethernet(&syn()), ethernet(&syn6()));
    let patched = |at: usize, value: u8| {
        let mut frame = four.clone();
        frame[at] = value;
        frame
    };
    let later: &[u8] = &[0, 0, 0, 8, 0, 0, 0, 9];
    let one: &[u8] = &[0, 0, 1, 4, 0, 0, 0, 0];
    let with = |list: &[(u8, &[u8])]| tunnels::with_ipv6_extensions(&six, list);
    vec![
        case("arp", tunnels::ethernet(0x0806, &[0; 46]), Err(Skip::NotIp)),
        case("lldp", tunnels::ethernet(0x88cc, &[0; 46]), Err(Skip::NotIp)),
        case("802.3 length", tunnels::ethernet(38, &[0x42; 46]), Err(Skip::NotIp)),
        case("version 5", patched(14, 0x55), Err(Skip::BadIp)),
        case("ipv4 header too short", patched(14, 0x44), Err(Skip::BadIp)),
        case("ipv4 length within header", patched(17, 19), Err(Skip::BadIp)),
        case("tcp header too short", patched(46, 0x40), Err(Skip::BadTcp)),
        case("later", tunnels::with_ipv4_fragment(&four, 5, true), Err(Skip::LaterFragment)),
        case("last", tunnels::with_ipv4_fragment(&four, 5, false), Err(Skip::LaterFragment)),
        case("ipv6 later", with(&[(44, later)]), Err(Skip::LaterFragment)),
        case("ipv6 seven extensions", with(&[(60, one); 7]), Err(Skip::ExtensionHeaders)),
        case("dns", Outer::V4.udp(53, &[0; 20]), Err(Skip::Udp)),
        case("icmp", Outer::V4.frame(1, &[8; 20]), Err(Skip::Icmp)),
        case("icmpv6", Outer::V6.frame(58, &[128; 20]), Err(Skip::Icmp)),
        case("sctp", Outer::V4.frame(132, &[0; 20]), Err(Skip::OtherProtocol)),
        case("short ethernet", four[..14].to_vec(), Err(Skip::Short)),
        case("short ip", four[..33].to_vec(), Err(Skip::Short)),
        case("short tcp", four[..49].to_vec(), Err(Skip::Short)),
        case("cut in tcp options", four[..60].to_vec(), Ok(SYN_END)),
    ]
}

/// Frames that only the host unwraps unless the program is told to.
fn wrapped(outer: Outer) -> Vec<Case> {
    let (eth, eth6) = (ethernet(&syn()), ethernet(&Record { vlan_count: 1, ..syn6() }));
    let (packet, packet6) = (ip(&syn()), ip(&syn6()));
    let ip_len = if outer == Outer::V4 { 34 } else { 54 };
    let tunnel = |name: &str, frame: Vec<u8>, plain: Skip, inner_at: usize, end: usize, vni| Case {
        name: format!("{name} over {outer:?}"),
        frame,
        plain: Err(plain),
        host: Ok(ip_len + inner_at + end),
        vni,
    };
    let full = Gre { checksum: true, key: Some(0x0012_3456), sequence: Some(1) };
    let keyed = Gre { key: Some(0x00ab_cd01), ..Gre::default() };
    let bare = Gre::default();
    let (ip_end, ip6_end, eth6_end) = (SYN_END - 14, SYN6_END - 14, SYN6_END + 4);
    let options: &[u8] = &[1, 2, 3, 1, 9, 9, 9, 9];
    let three = |subheader| outer.erspan(Erspan::III { subheader }, &eth);
    vec![
        tunnel("vxlan", outer.vxlan(77, &eth), Skip::HostVxlan, 16, SYN_END, 77),
        tunnel("vxlan tagged", outer.vxlan(78, &eth6), Skip::HostVxlan, 16, eth6_end, 78),
        tunnel("geneve", outer.geneve(9, &[], 0x6558, &eth), Skip::HostGeneve, 16, SYN_END, 9),
        tunnel(
            "geneve options",
            outer.geneve(0xff_ffff, options, 0x86dd, &packet6),
            Skip::HostGeneve,
            24,
            ip6_end,
            0xff_ffff,
        ),
        tunnel("gre ip", outer.gre(bare, 0x0800, &packet), Skip::HostGre, 4, ip_end, 0),
        tunnel("gre full", outer.gre(full, 0x86dd, &packet6), Skip::HostGre, 16, ip6_end, 0),
        tunnel("nvgre", outer.gre(keyed, 0x6558, &eth), Skip::HostGre, 8, SYN_END, 0xabcd),
        tunnel("erspan i", outer.erspan(Erspan::I, &eth), Skip::HostGre, 4, SYN_END, 0),
        tunnel("erspan ii", outer.erspan(Erspan::II, &eth), Skip::HostGre, 16, SYN_END, 0),
        tunnel("erspan iii", three(false), Skip::HostGre, 20, SYN_END, 0),
        tunnel("erspan iii more", three(true), Skip::HostGre, 28, SYN_END, 0),
        tunnel("gtpu", outer.gtpu(false, &packet), Skip::HostGtpu, 16, ip_end, 0),
        tunnel("gtpu extended", outer.gtpu(true, &packet6), Skip::HostGtpu, 24, ip6_end, 0),
        tunnel("ip in ip", outer.frame(4, &packet), Skip::HostIpInIp, 0, ip_end, 0),
        tunnel("ipv6 in ip", outer.frame(41, &packet6), Skip::HostIpInIp, 0, ip6_end, 0),
    ]
}

/// Frames with something between Ethernet and IP.
fn under_ip() -> Vec<Case> {
    let (packet, packet6) = (ip(&syn()), ip(&syn6()));
    let wire = [&[0; 4], &ethernet(&syn())[..]].concat();
    let table = [
        ("mpls", tunnels::mpls(&[16], &packet), Skip::HostMpls, SYN_END + 4),
        ("mpls stack", tunnels::mpls(&[16, 17, 18], &packet6), Skip::HostMpls, SYN6_END + 12),
        ("pseudowire", tunnels::mpls(&[99], &wire), Skip::HostMpls, 14 + 4 + 4 + SYN_END),
        ("pppoe", tunnels::pppoe(&packet), Skip::HostPppoe, SYN_END + 8),
        ("pppoe ipv6", tunnels::pppoe(&packet6), Skip::HostPppoe, SYN6_END + 8),
    ];
    let case = |(name, frame, plain, end): (&str, _, _, _)| Case {
        name: name.into(),
        frame,
        plain: Err(plain),
        host: Ok(end),
        vni: 0,
    };
    table.into_iter().map(case).collect()
}
