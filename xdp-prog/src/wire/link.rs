//! Link layers: what a frame begins with, and its VLAN tags.

use super::{Frame, Layer, Link, Skip};

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;

/// Tags that are stepped over; the first two are kept.
const TAGS_MAX: usize = 4;

/// VLAN ids, outermost first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vlans {
    /// The ids; the first `count` are set.
    pub ids: [u16; 2],
    /// How many.
    pub count: u8,
}

impl Vlans {
    #[inline(always)]
    fn push(&mut self, id: u16) {
        match self.count {
            0 => self.ids[0] = id,
            1 => self.ids[1] = id,
            _ => return,
        }
        self.count += 1;
    }
}

/// 802.1Q, 802.1ad and the two numbers used before it.
#[inline(always)]
fn is_vlan(ether_type: u16) -> bool {
    matches!(ether_type, 0x8100 | 0x88a8 | 0x9100 | 0x9200)
}

/// Steps over VLAN tags. Returns the EtherType behind them and where its payload is.
#[inline(always)]
pub fn untag<F: Frame>(
    frame: &F,
    ether_type: u16,
    at: usize,
    vlans: &mut Vlans,
) -> Result<(u16, usize), Skip> {
    let (mut ether_type, mut at) = (ether_type, at);
    for _ in 0..TAGS_MAX {
        if !is_vlan(ether_type) {
            break;
        }
        let tag = frame.u32(at)?;
        vlans.push((tag >> 16) as u16 & 0x0fff);
        ether_type = tag as u16;
        at += 4;
    }
    Ok((ether_type, at))
}

/// What a captured frame of this link type begins with, and where.
pub fn first(frame: &&[u8], link: Link) -> Result<(Layer, usize), Skip> {
    Ok(match link {
        Link::Ethernet => (Layer::Ethernet, 0),
        Link::RawIp => (Layer::Ip, 0),
        Link::LinuxCooked => (Layer::EtherType(frame.u16(14)?), 16),
        Link::LinuxCooked2 => (Layer::EtherType(frame.u16(0)?), 20),
        // Two or four bytes of a small number: whichever end it stands at, the order is known.
        Link::Null => {
            let family = frame.u32(0)?;
            (Layer::EtherType(of_family(family.min(family.swap_bytes()))?), 4)
        }
        Link::Loop => (Layer::EtherType(of_family(frame.u32(0)?)?), 4),
    })
}

/// Address families: 2 everywhere, IPv6 as in Linux, NetBSD/OpenBSD, FreeBSD and Darwin.
fn of_family(family: u32) -> Result<u16, Skip> {
    match family {
        2 => Ok(IPV4),
        10 | 24 | 28 | 30 => Ok(IPV6),
        _ => Err(Skip::NotIp),
    }
}
