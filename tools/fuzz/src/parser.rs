//! Fuzz target: any bytes are a segment or a reason. The first byte picks the link type and whether
//! the frame was longer on the wire than what was captured.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xdpwatch_prog::wire::{self, Link};

const LINKS: [Link; 6] =
    [Link::Ethernet, Link::RawIp, Link::LinuxCooked, Link::LinuxCooked2, Link::Null, Link::Loop];

fuzz_target!(|bytes: &[u8]| {
    let Some((first, frame)) = bytes.split_first() else { return };
    let link = LINKS[usize::from(first & 0x7f) % LINKS.len()];
    let frame_len = if first & 0x80 == 0 { frame.len() as u32 } else { u32::MAX };
    let parsed = wire::parse(frame, frame_len, 0, link);
    if let Ok(parsed) = parsed {
        // The least: IPv4 and 16 bytes of TCP seen, 20 there.
        assert!(frame.len() >= 36 && parsed.header_end >= 40, "{parsed:?}");
        assert!(parsed.record.payload_len <= frame_len.max(0xffff), "{parsed:?}");
    }
    // The program's parser finds no segment that the host's does not find alike.
    if link != Link::Ethernet {
        return;
    }
    if let Ok(located) = wire::locate(&frame, 0, frame_len as usize) {
        let parsed = parsed.expect("the program finds a segment");
        assert_eq!(parsed.header_end, located.header_end);
        assert_eq!(parsed.record.src_addr, wire::ip::octets(&located.network.src));
        assert_eq!(parsed.record.dst_port, located.header.dst_port);
    }
});
