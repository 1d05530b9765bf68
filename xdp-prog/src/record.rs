//! What one TCP segment looks like to the detector: the fields of its headers, and when it was seen.
//!
//! Nothing here knows bytes or flows; `wire` makes records, `xdpwatch-core` reads them.

/// TCP control bits as they stand in the header (RFC 9293, 3.1).
pub mod flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push function.
    pub const PSH: u8 = 0x08;
    /// The acknowledgment field is significant.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer is significant.
    pub const URG: u8 = 0x20;
}

/// Facts about a record that are not numbers: optional fields present, and how far it can be trusted.
pub mod marks {
    /// The addresses are IPv6; otherwise they are IPv4 mapped into IPv6 (`::ffff:a.b.c.d`).
    pub const IPV6: u16 = 0x01;
    /// A timestamps option was read: `ts_val` and `ts_ecr` hold it (RFC 7323, 3).
    pub const TIMESTAMPS: u16 = 0x02;
    /// A window scale option was read: `window_scale` holds it (RFC 7323, 2).
    pub const WINDOW_SCALE: u16 = 0x04;
    /// The capture ended inside the TCP options: absent options may have been there.
    pub const OPTIONS_CUT: u16 = 0x08;
    /// The segment was carried inside a tunnel; `vni` may be set.
    pub const ENCAPSULATED: u16 = 0x10;
    /// The IP total length was 0 (segmentation offload), so the payload length is the frame's.
    pub const LENGTH_FROM_FRAME: u16 = 0x20;
    /// First fragment of several: the payload length is what this fragment carries.
    pub const FIRST_FRAGMENT: u16 = 0x40;
    /// The receive time is the batch's, not the frame's own.
    pub const TIME_FROM_BATCH: u16 = 0x80;
}

/// One TCP segment, host byte order throughout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// When the segment was seen, in nanoseconds since the Unix epoch on a scale that never steps.
    pub at_ns: u64,
    /// Source address; IPv4 is mapped into IPv6.
    pub src_addr: [u8; 16],
    /// Destination address; IPv4 is mapped into IPv6.
    pub dst_addr: [u8; 16],
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number; meaningful with [`flags::ACK`].
    pub ack: u32,
    /// TSval of the timestamps option; meaningful with [`marks::TIMESTAMPS`].
    pub ts_val: u32,
    /// TSecr of the timestamps option; meaningful with [`marks::TIMESTAMPS`].
    pub ts_ecr: u32,
    /// TCP payload in bytes, from the IP length: padding and capture trailers are not data.
    pub payload_len: u32,
    /// Bytes of the frame as it was on the wire.
    pub frame_len: u32,
    /// Virtual network: VXLAN or GENEVE VNI, NVGRE's VSID; 0 if none.
    pub vni: u32,
    /// Window as it stands in the header, unscaled.
    pub window: u16,
    /// IPv4 identification; 0 for IPv6.
    pub ip_id: u16,
    /// See [`marks`].
    pub marks: u16,
    /// VLAN ids, outermost first; the first `vlan_count` are set.
    pub vlans: [u16; 2],
    /// How many of `vlans` are set.
    pub vlan_count: u8,
    /// TCP control bits, odd combinations included: see [`flags`].
    pub flags: u8,
    /// Shift count of the window scale option; meaningful with [`marks::WINDOW_SCALE`].
    pub window_scale: u8,
    /// IPv4 time to live or IPv6 hop limit.
    pub ttl: u8,
}

impl Record {
    /// Whether all control bits of `mask` are set.
    #[inline]
    #[must_use]
    pub fn has_flags(&self, mask: u8) -> bool {
        self.flags & mask == mask
    }

    /// Whether the mark `mask` is set.
    #[inline]
    #[must_use]
    pub fn has_mark(&self, mask: u16) -> bool {
        self.marks & mask == mask
    }

    /// TSval, if the segment carried a timestamps option.
    #[inline]
    #[must_use]
    pub fn timestamp(&self) -> Option<u32> {
        self.has_mark(marks::TIMESTAMPS).then_some(self.ts_val)
    }

    /// A SYN without ACK and RST: an attempt to open a connection.
    #[inline]
    #[must_use]
    pub fn is_pure_syn(&self) -> bool {
        self.flags & (flags::SYN | flags::ACK | flags::RST) == flags::SYN
    }

    /// The sequence space it occupies: payload plus one each for SYN and FIN (RFC 9293, 3.4).
    #[inline]
    #[must_use]
    pub fn sequence_len(&self) -> u32 {
        self.payload_len
            .wrapping_add(u32::from(self.flags & flags::SYN != 0))
            .wrapping_add(u32::from(self.flags & flags::FIN != 0))
    }
}
