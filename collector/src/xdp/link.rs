//! How an interface's link stands at the moment, in one question to the kernel: what is looked at again
//! and again while its frames are captured. What it is used for stands in `interface`.

use std::ffi::CString;
use std::path::Path;

use neli::attr::Attribute;
use neli::consts::nl::NlmF;
use neli::consts::rtnl::{Ifla, RtAddrFamily, Rtm};
use neli::consts::socket::NlFamily;
use neli::nl::NlPayload;
use neli::router::synchronous::NlRouter;
use neli::rtnl::{Ifinfomsg, IfinfomsgBuilder};
use neli::utils::Groups;

use super::interface::count_queues;
use crate::capture::sys;

/// `IFF_UP` and `IFF_LOWER_UP` of linux/if.h.
const UP: u32 = 1;
const LOWER_UP: u32 = 1 << 16;

/// `IFLA_XDP_PROG_ID` to `IFLA_XDP_HW_PROG_ID` of linux/if_link.h.
const PROGRAM_IDS: std::ops::RangeInclusive<u16> = 4..=7;

/// An interface's link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The kernel's index of the interface.
    pub index: u32,
    /// Whether it is administratively up.
    pub is_up: bool,
    /// Whether there is something at the other end.
    pub has_carrier: bool,
    /// Largest IP packet, bytes.
    pub mtu: u32,
    /// Receive queues in use.
    pub queues: u32,
    /// How often the carrier went away so far; 0 where the kernel does not count it (before 4.16).
    pub carrier_losses: u32,
    /// The XDP programs that are attached to it, by the kernel's numbers.
    pub programs: Vec<u32>,
}

/// Who is asked: one socket for as long as it lives.
pub struct Links {
    router: NlRouter,
}

impl Links {
    /// Opens the socket.
    ///
    /// # Errors
    /// The kernel's: AF_NETLINK is forbidden here.
    pub fn open() -> anyhow::Result<Self> {
        let (router, _) = NlRouter::connect(NlFamily::Route, None, Groups::empty())?;
        Ok(Self { router })
    }

    /// The link of the interface `name`; `None` if there is none of that name.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn look(&self, name: &str) -> anyhow::Result<Option<Link>> {
        let name_c = CString::new(name)?;
        let Ok(index) = sys::interface_index(&name_c) else { return Ok(None) };
        let about = IfinfomsgBuilder::default()
            .ifi_family(RtAddrFamily::Unspecified)
            .ifi_index(libc::c_int::try_from(index)?)
            .build()?;
        let answers = self.router.send::<_, _, Rtm, Ifinfomsg>(
            Rtm::Getlink,
            NlmF::ACK,
            NlPayload::Payload(about),
        )?;
        let mut link = None;
        for answer in answers {
            // It may have gone since its index was asked for.
            let Ok(answer) = answer else { continue };
            if let Some(told) = answer.get_payload() {
                link = Some(read(told));
            }
        }
        let Some(mut link) = link.filter(|link| link.index == index) else { return Ok(None) };
        link.queues = count_queues(Path::new("/sys/class/net").join(name).as_path()).unwrap_or(0);
        Ok((link.queues > 0).then_some(link))
    }
}

fn read(told: &Ifinfomsg) -> Link {
    let attributes = told.rtattrs().get_attr_handle();
    let number = |which| attributes.get_attr_payload_as::<u32>(which).unwrap_or(0);
    let xdp = attributes.get_attribute(Ifla::Xdp);
    let flags = told.ifi_flags().bits();
    Link {
        index: u32::try_from(*told.ifi_index()).unwrap_or(0),
        is_up: flags & UP != 0,
        has_carrier: flags & LOWER_UP != 0,
        mtu: number(Ifla::Mtu),
        queues: 0,
        carrier_losses: number(Ifla::CarrierDownCount),
        programs: xdp.map(|xdp| programs(xdp.payload().as_ref())).unwrap_or_default(),
    }
}

/// The programs' numbers in the attributes within `IFLA_XDP`: length, kind, value, each padded to four
/// bytes.
fn programs(mut bytes: &[u8]) -> Vec<u32> {
    let mut found = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<4>() {
        let [a, b, c, d] = *head;
        let (len, kind) = (usize::from(u16::from_ne_bytes([a, b])), u16::from_ne_bytes([c, d]));
        if PROGRAM_IDS.contains(&kind)
            && let Some(id) = rest.first_chunk::<4>()
        {
            found.push(u32::from_ne_bytes(*id));
        }
        let Some(next) = bytes.get(len.max(4).next_multiple_of(4)..) else { break };
        bytes = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_up_and_runs_no_program() {
        let links = Links::open().unwrap();
        let link = links.look("lo").unwrap().unwrap();
        assert!(link.mtu > 1000 && link.queues > 0 && link.programs.is_empty(), "{link:?}");
        assert_eq!(links.look("no-such-if0").unwrap(), None);
    }

    #[test]
    fn programs_are_found_among_other_attributes() {
        let attribute = |kind: u16, value: &[u8]| {
            let len = (4 + value.len()) as u16;
            let mut bytes = [len.to_ne_bytes(), kind.to_ne_bytes()].concat();
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        // IFLA_XDP_ATTACHED is one byte.
        let bytes = [attribute(2, &[1]), attribute(4, &77u32.to_ne_bytes())].concat();
        assert_eq!(programs(&bytes), [77]);
        assert!(programs(&bytes[..6]).is_empty() && programs(&[0; 9]).is_empty());
    }
}
