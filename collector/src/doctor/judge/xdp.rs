//! Driver, XDP modes, zero copy, and the MTU that XDP allows.

use super::super::drivers::{self, Driver};
use super::super::facts::Facts;
use super::super::line::Line;
use crate::xdp::program::SINGLE_BUFFER_MTU_MAX;

/// `NETDEV_XDP_ACT_*` of linux/netdev.h.
pub const BASIC: u64 = 1;
pub const REDIRECT: u64 = 2;
pub const XSK_ZEROCOPY: u64 = 8;
pub const RX_SG: u64 = 32;

pub fn known(facts: &Facts) -> Option<&'static Driver> {
    drivers::find(facts.device.driver.as_deref()?)
}

pub fn driver(facts: &Facts) -> Line {
    let bus = facts.device.bus.as_deref().unwrap_or("no bus: a virtual interface");
    match &facts.device.driver {
        Some(name) => Line::ok("driver", format!("{name}, {bus}")),
        None => Line::warning(
            "driver",
            format!("the driver has no name ({bus})"),
            "expect generic XDP only: watch the rate, and use a physical port for more",
        ),
    }
}

/// Whether the driver itself runs XDP programs, as the kernel says, else as its source does.
pub fn is_native(facts: &Facts) -> bool {
    match facts.xdp {
        Some(xdp) => xdp.bits & (BASIC | REDIRECT) == BASIC | REDIRECT,
        None => known(facts).is_some(),
    }
}

pub fn modes(facts: &Facts) -> Line {
    const TOPIC: &str = "xdp";
    let name = &facts.interface.name;
    if is_native(facts) {
        return Line::ok(TOPIC, "the driver runs XDP programs itself and redirects");
    }
    let cure = match (facts.xdp, known(facts)) {
        // mlx5e_set_xdp_feature and others withdraw XDP while segments are merged.
        (Some(_), Some(_)) => format!(
            "this driver can, with other settings: `ethtool -K {name} lro off rx-gro-hw off`, and \
             half the queues if it is virtio_net"
        ),
        _ => "capturing falls back to generic mode, at a fraction of the rate; use an interface \
              whose driver has XDP for more"
            .to_owned(),
    };
    Line::warning(TOPIC, "the driver does not run XDP programs; generic mode does", cure)
}

pub fn zero_copy(facts: &Facts) -> Line {
    const TOPIC: &str = "zero_copy";
    let (has, segments) = match facts.xdp {
        Some(xdp) => (xdp.bits & XSK_ZEROCOPY != 0, xdp.zero_copy_segments),
        None => (known(facts).is_some_and(|driver| driver.zero_copy), 1),
    };
    if has {
        let buffers = match segments {
            0 | 1 => "one buffer".to_owned(),
            more => format!("up to {more} buffers"),
        };
        return Line::ok(TOPIC, format!("offered, {buffers} for a frame"));
    }
    let cure = match facts.device.driver.as_deref() {
        Some("ena") => {
            "headers are cut before the copy; where the rate needs more, use the vendor's own driver, \
             2.7.0 or newer"
        }
        _ => {
            "headers are cut before the copy; where the rate needs more, use i40e, ice, ixgbe, igc, \
             mlx5, gve or another that has it"
        }
    };
    Line::warning(TOPIC, "not offered: the kernel copies each selected frame", cure)
}

pub fn mtu(facts: &Facts) -> Line {
    const TOPIC: &str = "mtu";
    let (name, mtu) = (&facts.interface.name, facts.interface.mtu);
    let in_pieces = facts.xdp.is_some_and(|xdp| xdp.bits & RX_SG != 0);
    let limit = known(facts).and_then(|driver| driver.single_buffer_mtu);
    let limit = limit.unwrap_or(SINGLE_BUFFER_MTU_MAX);
    if mtu <= limit || in_pieces {
        let how = if mtu <= limit { "" } else { "; frames of several buffers are taken" };
        return Line::ok(TOPIC, format!("{mtu}{how}"));
    }
    Line::warning(
        TOPIC,
        format!("{mtu}: above {limit} this driver refuses XDP, and generic mode is what is left"),
        format!("`ip link set {name} mtu {limit}`, if no mirrored frame is longer"),
    )
}
