//! Arbitrary segments, for the tests of the parser.

use proptest::prelude::*;
use xdpwatch_prog::record::{Record, marks};

/// Any segment that `frames` can build: every field, IPv4 or IPv6, up to two VLAN tags.
pub fn records() -> impl Strategy<Value = Record> {
    let addrs = (any::<bool>(), any::<[u8; 16]>(), any::<[u8; 16]>());
    let ports = (any::<u16>(), any::<u16>(), any::<u16>(), any::<u16>());
    let numbers = (any::<u32>(), any::<u32>(), any::<u8>(), any::<u8>());
    let options = (any::<Option<(u32, u32)>>(), any::<Option<u8>>());
    let layout = (0..=2u8, 0..4096u16, 0..4096u16, 0..1400u32);
    (addrs, ports, numbers, options, layout).prop_map(
        |(addrs, ports, numbers, options, (vlan_count, outer, inner, payload_len))| {
            let mut record = Record { payload_len, vlan_count, ..Record::default() };
            (record.src_port, record.dst_port, record.window, record.ip_id) = ports;
            (record.seq, record.ack, record.flags, record.ttl) = numbers;
            if let Some((ts_val, ts_ecr)) = options.0 {
                (record.ts_val, record.ts_ecr) = (ts_val, ts_ecr);
                record.marks |= marks::TIMESTAMPS;
            }
            if let Some(window_scale) = options.1 {
                record.window_scale = window_scale;
                record.marks |= marks::WINDOW_SCALE;
            }
            let vlans = [outer, inner];
            let tags = usize::from(vlan_count);
            record.vlans[..tags].copy_from_slice(&vlans[..tags]);
            let (is_v6, src_addr, dst_addr) = addrs;
            if is_v6 {
                (record.src_addr, record.dst_addr, record.ip_id) = (src_addr, dst_addr, 0);
                record.marks |= marks::IPV6;
            } else {
                for (addr, any) in
                    [(&mut record.src_addr, src_addr), (&mut record.dst_addr, dst_addr)]
                {
                    addr[10..12].fill(0xff);
                    addr[12..].copy_from_slice(&any[12..]);
                }
            }
            record
        },
    )
}
