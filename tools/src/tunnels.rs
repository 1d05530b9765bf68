//! What can be wrapped around a frame or put between its headers, for tests of the parser: tunnels,
//! labels, options, extension headers, fragments.
//!
//! Outer checksums are zero: mirrors send such frames, and neither parser looks at them.

/// The outer addresses: from here to there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outer {
    /// 192.0.2.1 to 192.0.2.2.
    V4,
    /// 2001:db8::1 to 2001:db8::2.
    V6,
}

impl Outer {
    /// The outer destination as the program's `LOCAL_ADDRS` holds it.
    #[must_use]
    pub fn local_addr(self) -> [u8; 16] {
        match self {
            Self::V4 => [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 2],
            Self::V6 => [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
        }
    }

    /// An Ethernet frame with `payload` over IP.
    #[must_use]
    pub fn frame(self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let ether_type = if self == Self::V4 { 0x0800 } else { 0x86dd };
        ethernet(ether_type, &self.packet(protocol, payload))
    }

    fn packet(self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        if self == Self::V4 {
            packet.extend([0x45, 0]);
            packet.extend((20 + payload.len() as u16).to_be_bytes());
            packet.extend([0, 1, 0x40, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        } else {
            let mut src = self.local_addr();
            src[15] = 1;
            packet.extend([0x60, 0, 0, 0]);
            packet.extend((payload.len() as u16).to_be_bytes());
            packet.extend([protocol, 64]);
            packet.extend(src);
            packet.extend(self.local_addr());
        }
        packet.extend(payload);
        packet
    }

    /// A UDP datagram to `port`, as an Ethernet frame.
    #[must_use]
    pub fn udp(self, port: u16, payload: &[u8]) -> Vec<u8> {
        let [high, low] = port.to_be_bytes();
        let [len_high, len_low] = (8 + payload.len() as u16).to_be_bytes();
        let header = [0xc0, 0, high, low, len_high, len_low, 0, 0];
        self.frame(17, &[&header, payload].concat())
    }

    /// VXLAN (RFC 7348) around an Ethernet frame.
    #[must_use]
    pub fn vxlan(self, vni: u32, frame: &[u8]) -> Vec<u8> {
        let header = [&[8, 0, 0, 0], &(vni << 8).to_be_bytes()[..], frame].concat();
        self.udp(4789, &header)
    }

    /// GENEVE (RFC 8926) around what `protocol` names, with options of a multiple of four bytes.
    #[must_use]
    pub fn geneve(self, vni: u32, options: &[u8], protocol: u16, inner: &[u8]) -> Vec<u8> {
        let [high, low] = protocol.to_be_bytes();
        let head = [(options.len() / 4) as u8, 0, high, low];
        self.udp(6081, &[&head, &(vni << 8).to_be_bytes()[..], options, inner].concat())
    }

    /// GRE (RFC 2784, 2890) around what `protocol` names.
    #[must_use]
    pub fn gre(self, fields: Gre, protocol: u16, inner: &[u8]) -> Vec<u8> {
        let Gre { checksum, key, sequence } = fields;
        let mut flags = 0u16;
        let mut optional = Vec::new();
        if checksum {
            flags |= 0x8000;
            optional.extend([0; 4]);
        }
        for (field, bit) in [(key, 0x2000), (sequence, 0x1000)] {
            if let Some(value) = field {
                flags |= bit;
                optional.extend(value.to_be_bytes());
            }
        }
        let head = [flags.to_be_bytes(), protocol.to_be_bytes()].concat();
        self.frame(47, &[&head, &optional[..], inner].concat())
    }

    /// ERSPAN type I, II or III around an Ethernet frame.
    #[must_use]
    pub fn erspan(self, kind: Erspan, frame: &[u8]) -> Vec<u8> {
        let numbered = Gre { sequence: Some(9), ..Gre::default() };
        match kind {
            Erspan::I => self.gre(Gre::default(), 0x88be, frame),
            Erspan::II => {
                self.gre(numbered, 0x88be, &[&[0x10, 1, 0, 5, 0, 0, 0, 0], frame].concat())
            }
            Erspan::III { subheader } => {
                let header = [0x20, 1, 0, 5, 0, 0, 0, 1, 0, 0, 0, u8::from(subheader)];
                let more: &[u8] = if subheader { &[0x70, 0, 0, 0, 0, 0, 0, 0] } else { &[] };
                self.gre(numbered, 0x22eb, &[&header, more, frame].concat())
            }
        }
    }

    /// GTP-U (3GPP TS 29.281) around an IP packet, with or without an extension header.
    #[must_use]
    pub fn gtpu(self, extended: bool, packet: &[u8]) -> Vec<u8> {
        let optional: &[u8] = if extended { &[0, 0, 0, 0x85, 1, 0, 9, 0] } else { &[] };
        let [high, low] = ((optional.len() + packet.len()) as u16).to_be_bytes();
        let flags = if extended { 0x34 } else { 0x30 };
        self.udp(2152, &[&[flags, 0xff, high, low, 0, 0, 0, 7], optional, packet].concat())
    }
}

/// Optional fields of a GRE header.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gre {
    /// Whether a checksum field is there.
    pub checksum: bool,
    /// The key, if there.
    pub key: Option<u32>,
    /// The sequence number, if there.
    pub sequence: Option<u32>,
}

/// Types of ERSPAN.
#[derive(Clone, Copy, Debug)]
pub enum Erspan {
    /// No header of its own.
    I,
    /// A header of 8 bytes.
    II,
    /// A header of 12 bytes, and 8 more where the O bit says so.
    III {
        /// Whether they follow.
        subheader: bool,
    },
}

/// An Ethernet frame with this payload.
#[must_use]
pub fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let macs = [2, 0, 0, 0, 0, 4, 2, 0, 0, 0, 0, 3];
    [&macs, &ether_type.to_be_bytes()[..], payload].concat()
}

/// An MPLS label stack around what follows the last label.
#[must_use]
pub fn mpls(labels: &[u32], inner: &[u8]) -> Vec<u8> {
    let mut stack = Vec::new();
    for (n, label) in labels.iter().enumerate() {
        let last = u32::from(n + 1 == labels.len());
        stack.extend((label << 12 | last << 8 | 64).to_be_bytes());
    }
    ethernet(0x8847, &[&stack, inner].concat())
}

/// A PPPoE session around an IPv4 or IPv6 packet.
#[must_use]
pub fn pppoe(packet: &[u8]) -> Vec<u8> {
    let protocol = if packet[0] >> 4 == 6 { 0x57 } else { 0x21 };
    let [high, low] = (2 + packet.len() as u16).to_be_bytes();
    ethernet(0x8864, &[&[0x11, 0, 0, 1, high, low, 0, protocol], packet].concat())
}

/// The untagged IPv4 frame with options of a multiple of four bytes put into its IP header.
#[must_use]
pub fn with_ipv4_options(frame: &[u8], options: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame.splice(34..34, options.iter().copied());
    frame[14] += (options.len() / 4) as u8;
    grow_u16(&mut frame[16..18], options.len());
    frame
}

/// The untagged IPv6 frame with extension headers, each of its number and its bytes; the first byte
/// of each is set to the number of what follows.
#[must_use]
pub fn with_ipv6_extensions(frame: &[u8], extensions: &[(u8, &[u8])]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let mut next = frame[20];
    for (number, bytes) in extensions.iter().rev() {
        frame.splice(54..54, bytes.iter().copied());
        frame[54] = next;
        next = *number;
        grow_u16(&mut frame[18..20], bytes.len());
    }
    frame[20] = next;
    frame
}

/// The untagged IPv4 frame with an authentication header of 24 bytes before its payload.
#[must_use]
pub fn with_ipv4_authentication(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let mut header = [0; 24];
    header[..2].copy_from_slice(&[frame[23], 4]);
    frame.splice(34..34, header);
    frame[23] = 51;
    grow_u16(&mut frame[16..18], header.len());
    frame
}

/// The untagged IPv4 frame with these fragment bits: offset in units of 8, and more to follow.
#[must_use]
pub fn with_ipv4_fragment(frame: &[u8], offset: u16, more: bool) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let field = offset | if more { 0x2000 } else { 0 };
    frame[20..22].copy_from_slice(&field.to_be_bytes());
    frame
}

fn grow_u16(field: &mut [u8], by: usize) {
    let grown = u16::from_be_bytes([field[0], field[1]]) + by as u16;
    field.copy_from_slice(&grown.to_be_bytes());
}
