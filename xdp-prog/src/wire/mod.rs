//! The wire parser: frame in, record out. One parser, compiled for the BPF machine and for the host.
//!
//! It knows no maps and no flows. `link`, `ip` and `tcp` are shared by both targets; `tunnel` is what
//! a mirror may wrap around a frame, of which the program unwraps only the one it is told to.

pub mod ip;
pub mod link;
pub mod skip;
pub mod tcp;
pub mod tunnel;

pub use skip::Skip;

use crate::record::{Record, marks};
use ip::Network;
use link::Vlans;

/// Bytes of a frame. On the host a slice, in the kernel a pair of pointers that the verifier checks.
pub trait Frame {
    /// `N` bytes at `offset`, or `None` past the end. Never called with `N` of 1: the verifier
    /// rejects one-byte reads at variable offsets.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// 16 bits at `offset`, network byte order.
    #[inline(always)]
    fn u16(&self, offset: usize) -> Result<u16, Skip> {
        self.read(offset).map(u16::from_be_bytes).ok_or(Skip::Short)
    }

    /// 32 bits at `offset`, network byte order.
    #[inline(always)]
    fn u32(&self, offset: usize) -> Result<u32, Skip> {
        self.read(offset).map(u32::from_be_bytes).ok_or(Skip::Short)
    }

    /// `N` bytes at `offset`.
    #[inline(always)]
    fn bytes<const N: usize>(&self, offset: usize) -> Result<[u8; N], Skip> {
        self.read(offset).ok_or(Skip::Short)
    }
}

impl Frame for &[u8] {
    #[inline]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk().copied()
    }
}

/// What a frame begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Ethernet.
    Ethernet,
    /// IPv4 or IPv6 at once.
    RawIp,
    /// Linux cooked capture, version 1.
    LinuxCooked,
    /// Linux cooked capture, version 2.
    LinuxCooked2,
    /// BSD loopback: the address family in the capturing host's byte order.
    Null,
    /// OpenBSD loopback: the address family in network byte order.
    Loop,
}

/// What follows at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// An Ethernet header.
    Ethernet,
    /// What this EtherType names.
    EtherType(u16),
    /// An IP header of either version.
    Ip,
}

/// Headers within headers that are followed at most.
const LAYERS_MAX: usize = 16;

/// A segment found in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Its headers' fields.
    pub record: Record,
    /// Where its TCP header ends in the frame: what is behind is payload.
    pub header_end: usize,
}

/// Finds the TCP segment in `frame`, whatever is wrapped around it.
///
/// `frame_len` is its length on the wire, captured or not; `at_ns` is handed on into the record.
///
/// # Errors
/// Why there is no segment in it that can be used.
#[inline(always)]
pub fn parse(frame: &[u8], frame_len: u32, at_ns: u64, link: Link) -> Result<Parsed, Skip> {
    match crate::plain::parse(frame, frame_len, at_ns, link) {
        Some(parsed) => Ok(parsed),
        None => parse_any(frame, frame_len, at_ns, link),
    }
}

/// As [`parse`], header by header.
#[inline(never)]
fn parse_any(frame: &[u8], frame_len: u32, at_ns: u64, link: Link) -> Result<Parsed, Skip> {
    let (mut vlans, mut found_vni, mut found_marks) = (Vlans::default(), 0, 0);
    let (mut layer, mut at) = link::first(&frame, link)?;
    for _ in 0..LAYERS_MAX {
        if layer == Layer::Ethernet {
            let ether_type = frame.u16(at + 12)?;
            (layer, at) = (Layer::EtherType(ether_type), at + 14);
        }
        if let Layer::EtherType(ether_type) = layer {
            let (inner, offset) = link::untag(&frame, ether_type, at, &mut vlans)?;
            if let Some(next) = tunnel::under_ip(&frame, inner, offset)? {
                (layer, at) = next;
                continue;
            }
            (layer, at) = (Layer::EtherType(inner), offset);
        }
        let network = ip::network(&frame, layer, at, frame_len as usize, ip::EXTENSIONS_MAX)?;
        if network.protocol == ip::TCP {
            let mut parsed = tcp::record(&frame, &network, at_ns)?;
            let record = &mut parsed.record;
            record.frame_len = frame_len;
            record.vni = found_vni;
            record.marks |= found_marks;
            record.vlans = vlans.ids;
            record.vlan_count = vlans.count;
            return Ok(parsed);
        }
        let inner = tunnel::over_ip(&frame, &network)?;
        found_marks |= marks::ENCAPSULATED;
        found_vni = inner.vni.unwrap_or(found_vni);
        // The mirror's own VLANs say nothing of the mirrored segment.
        vlans = Vlans::default();
        (layer, at) = (inner.layer, inner.at);
    }
    Err(Skip::TooDeep)
}

/// As [`parse`], without the place where the headers end.
///
/// # Errors
/// Why there is no segment in it that can be used.
#[inline(always)]
pub fn parse_record(frame: &[u8], frame_len: u32, at_ns: u64, link: Link) -> Result<Record, Skip> {
    parse(frame, frame_len, at_ns, link).map(|parsed| parsed.record)
}

/// A TCP segment as the program needs it: where, whose, and which flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// The IP header's fields.
    pub network: Network,
    /// The TCP header's first fields.
    pub header: tcp::Header,
    /// Where the TCP header ends in the frame.
    pub header_end: usize,
}

/// Finds the segment in a frame that wraps it in nothing but Ethernet, VLANs and IP.
///
/// # Errors
/// Why there is none, or which tunnel only the host's parser unwraps.
#[inline(always)]
pub fn locate<F: Frame>(frame: &F, start: usize, frame_len: usize) -> Result<Located, Skip> {
    let network = plain_network(frame, start, frame_len, ip::EXTENSIONS_MAX)?;
    if network.protocol != ip::TCP {
        return Err(tunnel::name(frame, &network));
    }
    locate_tcp(frame, network)
}

/// As [`locate`], for a frame that comes wrapped in `wanted`; `is_local` says whether the wrapping is
/// addressed to this host. `None`: not such a frame.
///
/// # Errors
/// Why there is no segment in what was wrapped.
#[inline(always)]
pub fn locate_in_tunnel<F: Frame>(
    frame: &F,
    frame_len: usize,
    wanted: tunnel::Wanted,
    is_local: impl Fn(&[u8; 16]) -> bool,
) -> Option<Result<Located, Skip>> {
    let outer = plain_network(frame, 0, frame_len, ip::OUTER_EXTENSIONS_MAX).ok()?;
    if !tunnel::is(frame, &outer, wanted) || !is_local(&outer.dst_addr()) {
        return None;
    }
    Some(match tunnel::inner_of(frame, &outer, wanted) {
        Ok(tunnel::Inner { layer: Layer::Ethernet, at, .. }) => locate(frame, at, frame_len),
        Ok(tunnel::Inner { layer, at, .. }) => locate_ip(frame, layer, at, frame_len),
        Err(skip) => Err(skip),
    })
}

#[inline(always)]
fn plain_network<F: Frame>(
    frame: &F,
    start: usize,
    frame_len: usize,
    extensions_max: usize,
) -> Result<Network, Skip> {
    let ether_type = frame.u16(start + 12)?;
    let mut vlans = Vlans::default();
    let (inner, at) = link::untag(frame, ether_type, start + 14, &mut vlans)?;
    if let Some(skip) = tunnel::name_under_ip(inner) {
        return Err(skip);
    }
    ip::network(frame, Layer::EtherType(inner), at, frame_len, extensions_max)
}

#[inline(always)]
fn locate_ip<F: Frame>(
    frame: &F,
    layer: Layer,
    at: usize,
    frame_len: usize,
) -> Result<Located, Skip> {
    let network = ip::network(frame, layer, at, frame_len, ip::EXTENSIONS_MAX)?;
    if network.protocol != ip::TCP {
        return Err(tunnel::name(frame, &network));
    }
    locate_tcp(frame, network)
}

#[inline(always)]
fn locate_tcp<F: Frame>(frame: &F, network: Network) -> Result<Located, Skip> {
    let header = tcp::header(frame, network.payload_at)?;
    Ok(Located { network, header, header_end: network.payload_at + header.len })
}
