//! What a mirror or a network wraps around a frame: MPLS and PPPoE under IP; VXLAN, GENEVE, GRE,
//! ERSPAN, GTP-U and IP in IP over it. One step of unwrapping each.

use super::ip::{Network, UDP};
use super::{Frame, Layer, Skip};

const MPLS: u16 = 0x8847;
const MPLS_MULTICAST: u16 = 0x8848;
const PPPOE_SESSION: u16 = 0x8864;
const TRANSPARENT_ETHERNET: u16 = 0x6558;
const ERSPAN: u16 = 0x88be;
const ERSPAN_III: u16 = 0x22eb;

const IP_IN_IP: u8 = 4;
const IPV6_IN_IP: u8 = 41;
const GRE: u8 = 47;

/// UDP ports: the registered VXLAN one, and the one Linux used before it.
const VXLAN_PORTS: [u16; 2] = [4789, 8472];
const GENEVE_PORT: u16 = 6081;
const GTPU_PORT: u16 = 2152;

/// MPLS labels followed at most.
const LABELS_MAX: usize = 8;

/// GTP-U extension headers followed at most.
const GTPU_EXTENSIONS_MAX: usize = 4;

/// The encapsulation that the program is told to unwrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Wanted {
    /// VXLAN.
    Vxlan = 1,
    /// GENEVE.
    Geneve = 2,
    /// GRE other than ERSPAN.
    Gre = 3,
    /// ERSPAN of any type.
    Erspan = 4,
}

impl Wanted {
    /// By its number in the program's configuration.
    #[inline(always)]
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Vxlan),
            2 => Some(Self::Geneve),
            3 => Some(Self::Gre),
            4 => Some(Self::Erspan),
            _ => None,
        }
    }
}

/// What was wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// What it begins with.
    pub layer: Layer,
    /// Where.
    pub at: usize,
    /// The virtual network it belongs to, where the tunnel names one.
    pub vni: Option<u32>,
}

/// Unwraps what stands between Ethernet and IP. `None`: nothing does.
pub fn under_ip(frame: &&[u8], ether_type: u16, at: usize) -> Result<Option<(Layer, usize)>, Skip> {
    match ether_type {
        MPLS | MPLS_MULTICAST => mpls(frame, at).map(Some),
        PPPOE_SESSION => {
            let layer = match frame.u16(at + 6)? {
                0x0021 => Layer::EtherType(super::link::IPV4),
                0x0057 => Layer::EtherType(super::link::IPV6),
                _ => return Err(Skip::NotIp),
            };
            Ok(Some((layer, at + 8)))
        }
        _ => Ok(None),
    }
}

/// Steps over a label stack. What follows is not named, so it is guessed as routers do: by its first
/// four bits, with 0 for a pseudowire's control word (RFC 4385).
fn mpls(frame: &&[u8], at: usize) -> Result<(Layer, usize), Skip> {
    for label in 0..LABELS_MAX {
        let is_last = frame.u32(at + label * 4)? & 0x100 != 0;
        if is_last {
            let inner = at + label * 4 + 4;
            return Ok(match frame.u16(inner)? >> 12 {
                4 | 6 => (Layer::Ip, inner),
                0 => (Layer::Ethernet, inner + 4),
                _ => (Layer::Ethernet, inner),
            });
        }
    }
    Err(Skip::TooDeep)
}

/// The counter for a tunnel under IP that only the host's parser unwraps.
#[inline(always)]
pub fn name_under_ip(ether_type: u16) -> Option<Skip> {
    match ether_type {
        MPLS | MPLS_MULTICAST => Some(Skip::HostMpls),
        PPPOE_SESSION => Some(Skip::HostPppoe),
        _ => None,
    }
}

/// The counter for a packet that is no TCP: which tunnel, or why it is of no interest.
#[inline(always)]
pub fn name<F: Frame>(frame: &F, network: &Network) -> Skip {
    match network.protocol {
        UDP => match frame.u16(network.payload_at + 2) {
            Ok(port) if VXLAN_PORTS.contains(&port) => Skip::HostVxlan,
            Ok(GENEVE_PORT) => Skip::HostGeneve,
            Ok(GTPU_PORT) => Skip::HostGtpu,
            _ => Skip::Udp,
        },
        GRE => Skip::HostGre,
        IP_IN_IP | IPV6_IN_IP => Skip::HostIpInIp,
        1 | 58 => Skip::Icmp,
        _ => Skip::OtherProtocol,
    }
}

/// Whether the packet is of the wanted encapsulation.
#[inline(always)]
pub fn is<F: Frame>(frame: &F, network: &Network, wanted: Wanted) -> bool {
    let at = network.payload_at;
    match wanted {
        Wanted::Vxlan => name(frame, network) == Skip::HostVxlan,
        Wanted::Geneve => name(frame, network) == Skip::HostGeneve,
        Wanted::Gre | Wanted::Erspan => {
            let erspan = matches!(frame.u16(at + 2), Ok(ERSPAN | ERSPAN_III));
            network.protocol == GRE && erspan == (wanted == Wanted::Erspan)
        }
    }
}

/// Unwraps the wanted encapsulation, which the packet is known to be of.
#[inline(always)]
pub fn inner_of<F: Frame>(frame: &F, network: &Network, wanted: Wanted) -> Result<Inner, Skip> {
    let at = network.payload_at;
    match wanted {
        Wanted::Vxlan => vxlan(frame, at + 8),
        Wanted::Geneve => geneve(frame, at + 8),
        Wanted::Gre | Wanted::Erspan => gre(frame, at),
    }
}

/// Unwraps what IP carries, whatever it is.
pub fn over_ip<F: Frame>(frame: &F, network: &Network) -> Result<Inner, Skip> {
    let at = network.payload_at;
    let ip = |at| Ok(Inner { layer: Layer::Ip, at, vni: None });
    match (network.protocol, name(frame, network)) {
        (_, Skip::HostVxlan) => vxlan(frame, at + 8),
        (_, Skip::HostGeneve) => geneve(frame, at + 8),
        (_, Skip::HostGtpu) => gtpu(frame, at + 8),
        (GRE, _) => gre(frame, at),
        (IP_IN_IP | IPV6_IN_IP, _) => ip(at),
        (_, skip) => Err(skip),
    }
}

/// VXLAN (RFC 7348): flags with the I bit, then the VNI.
#[inline(always)]
fn vxlan<F: Frame>(frame: &F, at: usize) -> Result<Inner, Skip> {
    let has_vni = frame.u16(at)? & 0x0800 != 0;
    let vni = frame.u32(at + 4)? >> 8;
    Ok(Inner { layer: Layer::Ethernet, at: at + 8, vni: has_vni.then_some(vni) })
}

/// GENEVE (RFC 8926): version and option length, protocol, VNI, options.
#[inline(always)]
fn geneve<F: Frame>(frame: &F, at: usize) -> Result<Inner, Skip> {
    let head = frame.u32(at)?;
    if head >> 30 != 0 {
        return Err(Skip::BadTunnel);
    }
    let options_len = (head >> 24 & 0x3f) as usize * 4;
    let vni = frame.u32(at + 4)? >> 8;
    Ok(Inner { layer: of_protocol(head as u16), at: at + 8 + options_len, vni: Some(vni) })
}

#[inline(always)]
fn of_protocol(protocol: u16) -> Layer {
    if protocol == TRANSPARENT_ETHERNET { Layer::Ethernet } else { Layer::EtherType(protocol) }
}

/// GRE (RFC 2784, 2890) and what it carries: IP, Ethernet, or an ERSPAN header before Ethernet.
#[inline(always)]
fn gre<F: Frame>(frame: &F, at: usize) -> Result<Inner, Skip> {
    let head = frame.u32(at)?;
    let bit = |n: u32| (head >> n & 1) as usize;
    let (checksum, routing, key, sequence) = (bit(31), bit(30), bit(29), bit(28));
    if head >> 16 & 7 != 0 || routing != 0 {
        return Err(Skip::BadTunnel);
    }
    let payload = at + 4 + (checksum + key + sequence) * 4;
    match head as u16 {
        // Type I has no header of its own, type II one of 8 bytes; the S bit tells them apart.
        ERSPAN if sequence == 0 => Ok(ethernet(payload)),
        ERSPAN => Ok(ethernet(payload + 8)),
        ERSPAN_III => {
            // The O bit announces 8 more bytes; a frame type of 2 in bits 10 to 14 means bare IP.
            let last = frame.u16(payload + 10)?;
            let at = payload + 12 + usize::from(last & 1) * 8;
            let is_ip = last >> 10 & 0x1f == 2;
            let layer = if is_ip { Layer::Ip } else { Layer::Ethernet };
            Ok(Inner { layer, at, vni: None })
        }
        // NVGRE (RFC 7637): the key's upper 24 bits name the virtual network.
        TRANSPARENT_ETHERNET if key != 0 => {
            let vsid = frame.u32(at + 4 + checksum * 4)? >> 8;
            Ok(Inner { vni: Some(vsid), ..ethernet(payload) })
        }
        protocol => Ok(Inner { layer: of_protocol(protocol), at: payload, vni: None }),
    }
}

#[inline(always)]
fn ethernet(at: usize) -> Inner {
    Inner { layer: Layer::Ethernet, at, vni: None }
}

/// GTP-U (3GPP TS 29.281, 5.1): only G-PDUs carry a packet. Its TEID names one direction of a
/// tunnel, so it is no virtual network that both directions would share.
fn gtpu<F: Frame>(frame: &F, at: usize) -> Result<Inner, Skip> {
    let head = frame.u16(at)?;
    if head >> 12 != 3 || head & 0xff != 0xff {
        return Err(Skip::BadTunnel);
    }
    let mut inner = at + 8;
    if head & 0x0700 != 0 {
        let mut next = frame.u16(at + 10)? & 0xff;
        inner += 4;
        for _ in 0..GTPU_EXTENSIONS_MAX {
            if next == 0 {
                break;
            }
            // A length in units of 4; the last byte names the next extension.
            let units = usize::from(frame.u16(inner)? >> 8);
            if units == 0 {
                return Err(Skip::BadTunnel);
            }
            inner += units * 4;
            next = frame.u16(inner - 2)? & 0xff;
        }
        if next != 0 {
            return Err(Skip::TooDeep);
        }
    }
    Ok(Inner { layer: Layer::Ip, at: inner, vni: None })
}
