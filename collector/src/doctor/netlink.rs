//! Questions over generic netlink: the families `ethtool` (Linux 5.6, hashing 6.2) and `netdev`
//! (Linux 6.3). What is not answered is `None`.

use std::io::Cursor;

use neli::FromBytesWithInput;
use neli::attr::Attribute;
use neli::consts::nl::NlmF;
use neli::consts::socket::NlFamily;
use neli::genl::{AttrTypeBuilder, Genlmsghdr, GenlmsghdrBuilder, Nlattr, NlattrBuilder};
use neli::nl::NlPayload;
use neli::router::synchronous::NlRouter;
use neli::types::{Buffer, GenlBuffer};
use neli::utils::Groups;

use super::facts::{Channels, Rings, Rss, XdpFeatures};

/// Messages of linux/ethtool_netlink.h.
const FEATURES_GET: u8 = 11;
const RINGS_GET: u8 = 15;
const CHANNELS_GET: u8 = 17;
const RSS_GET: u8 = 38;

/// Message of linux/netdev.h.
const DEV_GET: u8 = 1;

/// Everything asked of both families.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    pub xdp: Option<XdpFeatures>,
    pub channels: Option<Channels>,
    pub rings: Option<Rings>,
    pub rss: Option<Rss>,
    pub offloads: Option<Vec<String>>,
}

/// Asks both families about the interface `index`.
pub fn ask(index: u32) -> Answers {
    let Ok((router, _)) = NlRouter::connect(NlFamily::Generic, None, Groups::empty()) else {
        return Answers::default();
    };
    let mut answers = Answers::default();
    if let Ok(netdev) = router.resolve_genl_family("netdev") {
        let answer = attribute(1, index).and_then(|about| send(&router, netdev, DEV_GET, about));
        answers.xdp = answer.and_then(|answer| {
            Some(XdpFeatures {
                bits: answer.u64(3)?,
                zero_copy_segments: answer.u32(4).unwrap_or(1),
            })
        });
    }
    if let Ok(ethtool) = router.resolve_genl_family("ethtool") {
        let get = |message| send(&router, ethtool, message, header(index)?);
        answers.channels = get(CHANNELS_GET).map(|answer| Channels {
            rx_max: answer.u32(2).unwrap_or(0),
            combined_max: answer.u32(5).unwrap_or(0),
            rx: answer.u32(6).unwrap_or(0),
            combined: answer.u32(9).unwrap_or(0),
        });
        answers.rings = get(RINGS_GET)
            .and_then(|answer| Some(Rings { rx_max: answer.u32(2)?, rx: answer.u32(6)? }));
        answers.rss = get(RSS_GET).and_then(|answer| {
            Some(Rss {
                function: answer.u32(3)?,
                key: answer.bytes(5).unwrap_or_default(),
                transform: answer.u32(6).unwrap_or(0),
            })
        });
        answers.offloads = get(FEATURES_GET).and_then(|answer| answer.names_of_bits(4));
    }
    answers
}

/// A family's attributes.
struct Answer(GenlBuffer<u16, Buffer>);

impl Answer {
    fn of(bytes: &[u8]) -> Option<Self> {
        GenlBuffer::from_bytes_with_input(&mut Cursor::new(bytes), bytes.len()).ok().map(Self)
    }

    fn u32(&self, attribute: u16) -> Option<u32> {
        self.0.get_attr_handle().get_attr_payload_as(attribute).ok()
    }

    fn u64(&self, attribute: u16) -> Option<u64> {
        self.0.get_attr_handle().get_attr_payload_as(attribute).ok()
    }

    fn bytes(&self, attribute: u16) -> Option<Vec<u8>> {
        let handle = self.0.get_attr_handle();
        Some(handle.get_attribute(attribute)?.payload().as_ref().to_vec())
    }

    /// The names in a bit set that is told bit by bit (`ETHTOOL_A_BITSET_BITS`), those that are set.
    fn names_of_bits(&self, attribute: u16) -> Option<Vec<String>> {
        let bits = Self::of(&Self::of(&self.bytes(attribute)?)?.bytes(3)?)?;
        let handle = bits.0.get_attr_handle();
        let names = handle.iter().filter_map(|bit| {
            let name = Self::of(bit.payload().as_ref())?.bytes(2)?;
            let name = name.split(|byte| *byte == 0).next()?;
            Some(String::from_utf8_lossy(name).into_owned())
        });
        Some(names.collect())
    }
}

/// `ETHTOOL_A_*_HEADER` with `ETHTOOL_A_HEADER_DEV_INDEX`.
fn header(index: u32) -> Option<Nlattr<u16, Buffer>> {
    attribute(1, Vec::<u8>::new())?.nest(&attribute(1, index)?).ok()
}

fn attribute<P: neli::Size + neli::ToBytes>(kind: u16, payload: P) -> Option<Nlattr<u16, Buffer>> {
    let kind = AttrTypeBuilder::default().nla_type(kind).build().ok()?;
    NlattrBuilder::default().nla_type(kind).nla_payload(payload).build().ok()
}

fn send(router: &NlRouter, family: u16, message: u8, about: Nlattr<u16, Buffer>) -> Option<Answer> {
    let attributes: GenlBuffer<u16, Buffer> = std::iter::once(about).collect();
    let request =
        GenlmsghdrBuilder::default().cmd(message).version(1).attrs(attributes).build().ok()?;
    let answers = router
        .send::<_, _, u16, Genlmsghdr<u8, u16>>(family, NlmF::ACK, NlPayload::Payload(request))
        .ok()?;
    let mut found = None;
    for answer in answers {
        if let NlPayload::Payload(payload) = answer.ok()?.nl_payload() {
            found = Some(Answer(payload.attrs().clone()));
        }
    }
    found
}
