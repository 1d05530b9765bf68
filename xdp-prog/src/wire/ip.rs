//! IPv4 with options (RFC 791) and IPv6 with extension headers (RFC 8200): addresses, protocol, and
//! where the payload begins and ends. Checksums are not looked at: mirrors see them unfinished.

use super::link::{IPV4, IPV6};
use super::{Frame, Layer, Skip};

/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;

/// Protocol number of the authentication header.
const AUTHENTICATION: u8 = 51;

/// Extension headers followed at most; more than a sane packet has, fewer than the verifier minds.
pub const EXTENSIONS_MAX: usize = 6;

/// Extension headers followed in front of a tunnel that the program unwraps: every path through the
/// outer header is one through the inner, so these multiply. Linux puts one there, its own limit on
/// nested tunnels (RFC 2473, 4.1.1).
pub const OUTER_EXTENSIONS_MAX: usize = 1;

/// Largest offset at which a header is looked for: keeps the verifier sure of its bounds.
const OFFSET_MAX: usize = 0x3fff;

/// What the IP header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Source address as 32-bit words in network byte order; IPv4 is mapped into IPv6.
    pub src: [u32; 4],
    /// Destination address likewise.
    pub dst: [u32; 4],
    /// Where the payload begins in the frame.
    pub payload_at: usize,
    /// Where the payload ends by the IP length; trailers behind it are no data.
    pub payload_end: usize,
    /// Protocol number of the payload.
    pub protocol: u8,
    /// Whether it is IPv6.
    pub is_v6: bool,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// IPv4 identification; 0 for IPv6.
    pub id: u16,
    /// The length field was 0, so the end is the frame's.
    pub length_from_frame: bool,
    /// The first fragment of several.
    pub first_fragment: bool,
}

impl Network {
    /// Destination address in octets.
    #[inline(always)]
    #[must_use]
    pub fn dst_addr(&self) -> [u8; 16] {
        octets(&self.dst)
    }
}

/// Words in network byte order to octets.
#[inline(always)]
#[must_use]
pub fn octets(words: &[u32; 4]) -> [u8; 16] {
    let [a, b, c, d] = words.map(u32::to_be_bytes);
    [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]]
}

/// Reads the IP header at `at`, and up to so many extension headers behind it.
#[inline(always)]
pub fn network<F: Frame>(
    frame: &F,
    layer: Layer,
    at: usize,
    frame_len: usize,
    extensions_max: usize,
) -> Result<Network, Skip> {
    let version = frame.u16(at)? >> 12;
    match (layer, version) {
        (Layer::EtherType(IPV4) | Layer::Ip, 4) => ipv4(frame, at, frame_len),
        (Layer::EtherType(IPV6) | Layer::Ip, 6) => ipv6(frame, at, frame_len, extensions_max),
        (Layer::EtherType(IPV4 | IPV6) | Layer::Ip, _) => Err(Skip::BadIp),
        _ => Err(Skip::NotIp),
    }
}

#[inline(always)]
fn ipv4<F: Frame>(frame: &F, at: usize, frame_len: usize) -> Result<Network, Skip> {
    let header: [u8; 20] = frame.bytes(at)?;
    let word =
        |n: usize| u32::from_be_bytes([header[n], header[n + 1], header[n + 2], header[n + 3]]);
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let total_len = usize::from(word(0) as u16);
    let fragment = word(4) as u16;
    // RFC 791: the offset counts 8-byte units, bit 13 says that more follow.
    if fragment & 0x1fff != 0 {
        return Err(Skip::LaterFragment);
    }
    if header_len < 20 || (total_len != 0 && total_len < header_len) {
        return Err(Skip::BadIp);
    }
    let mut network = Network {
        src: [0, 0, 0xffff, word(12)],
        dst: [0, 0, 0xffff, word(16)],
        payload_at: at + header_len,
        payload_end: if total_len == 0 { frame_len } else { at + total_len },
        protocol: header[9],
        is_v6: false,
        ttl: header[8],
        id: (word(4) >> 16) as u16,
        length_from_frame: total_len == 0,
        first_fragment: fragment & 0x2000 != 0,
    };
    if network.protocol == AUTHENTICATION {
        authenticated(frame, &mut network)?;
    }
    Ok(network)
}

/// Steps over an authentication header (RFC 4302): its length is in units of 4 beyond the first two.
#[inline(always)]
fn authenticated<F: Frame>(frame: &F, network: &mut Network) -> Result<(), Skip> {
    let at = network.payload_at & OFFSET_MAX;
    let head = frame.u16(at)?;
    network.payload_at = at + (usize::from(head & 0xff) + 2) * 4;
    network.protocol = (head >> 8) as u8;
    Ok(())
}

#[inline(always)]
fn ipv6<F: Frame>(
    frame: &F,
    at: usize,
    frame_len: usize,
    extensions_max: usize,
) -> Result<Network, Skip> {
    let start: [u8; 8] = frame.bytes(at)?;
    let payload_len = usize::from(u16::from_be_bytes([start[4], start[5]]));
    let words = |at: usize| -> Result<[u32; 4], Skip> {
        Ok([frame.u32(at)?, frame.u32(at + 4)?, frame.u32(at + 8)?, frame.u32(at + 12)?])
    };
    let mut network = Network {
        src: words(at + 8)?,
        dst: words(at + 24)?,
        payload_at: at + 40,
        payload_end: if payload_len == 0 { frame_len } else { at + 40 + payload_len },
        protocol: start[6],
        is_v6: true,
        ttl: start[7],
        id: 0,
        length_from_frame: payload_len == 0,
        first_fragment: false,
    };
    for _ in 0..extensions_max {
        let next = network.payload_at & OFFSET_MAX;
        match network.protocol {
            // Hop-by-hop, routing, destination, mobility: a length in units of 8 beyond the first.
            0 | 43 | 60 | 135 => {
                let head = frame.u16(next)?;
                network.payload_at = next + (usize::from(head & 0xff) + 1) * 8;
                network.protocol = (head >> 8) as u8;
            }
            AUTHENTICATION => authenticated(frame, &mut network)?,
            // Fragment: the offset's upper 13 bits, then two reserved and "more".
            44 => {
                let head: [u8; 4] = frame.bytes(next)?;
                let fragment = u16::from_be_bytes([head[2], head[3]]);
                if fragment & 0xfff8 != 0 {
                    return Err(Skip::LaterFragment);
                }
                network.first_fragment = fragment & 1 != 0;
                network.payload_at = next + 8;
                network.protocol = head[0];
            }
            _ => return Ok(network),
        }
    }
    match network.protocol {
        0 | 43 | 44 | AUTHENTICATION | 60 | 135 => Err(Skip::ExtensionHeaders),
        _ => Ok(network),
    }
}
