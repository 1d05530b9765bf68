//! Floods of SYNs cost the rules that span connections no more for each SYN than healthy traffic does: nothing
//! looks through all that came lately.

use std::time::{Duration, Instant};

use xdpwatch_core::aggregate::Aggregate;
use xdpwatch_core::detect::Limits;
use xdpwatch_core::watch::{Config, Watch};
use xdpwatch_prog::record::{Record, flags};

const SYNS: u32 = 200_000;

/// One and a half million a second.
const APART_NS: u64 = 650;

/// Ten times what it takes, and a tenth of what it took when each SYN looked through the last 10 ms.
const MOST: Duration = Duration::from_secs(4);

fn flood(what: &str, syn: impl Fn(u32) -> (u32, u16)) {
    let mut watch = Watch::new(Config { max_tuples: 1 << 18, ..Config::default() });
    let mut aggregate = Aggregate::new(&Limits::default(), [3; 4]);
    let (mut out, mut findings) = (Vec::new(), 0);
    let began = Instant::now();
    for n in 0..SYNS {
        let (source, port) = syn(n);
        let record = Record {
            at_ns: 1_700_000_000_000_000_000 + u64::from(n) * APART_NS,
            src_addr: std::net::Ipv4Addr::from(source).to_ipv6_mapped().octets(),
            dst_addr: std::net::Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().octets(),
            src_port: port,
            dst_port: 80,
            seq: n.wrapping_mul(0x9e37_79b9),
            flags: flags::SYN,
            ..Record::default()
        };
        watch.observe(&[record], &mut out);
        out.drain(..).for_each(|output| aggregate.handle(&output, &mut |_| findings += 1));
    }
    println!("{what}: {:?} for {SYNS} SYNs, {findings} findings", began.elapsed());
    assert!(began.elapsed() < MOST, "{what}: {:?}", began.elapsed());
}

#[test]
fn from_many_addresses_by_one_port() {
    flood("one port", |n| (n.wrapping_mul(0x9e37_79b9), 1024));
}

#[test]
fn from_one_address_by_every_port() {
    flood("one address", |n| (0x0a00_0100 + n / 60_000, (1024 + n % 60_000) as u16));
}

#[test]
fn from_many_addresses_by_many_ports() {
    flood("many", |n| (n.wrapping_mul(0x9e37_79b9), (n % 60_000) as u16));
}
