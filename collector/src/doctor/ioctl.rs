//! The two things that ethtool's netlink family does not tell: a driver's name where sysfs has
//! none, and the fields that are hashed for a kind of traffic.
#![expect(unsafe_code, reason = "SIOCETHTOOL has no safe form; each block says why it is sound")]

use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, SocketType, socket};

/// Commands of linux/ethtool.h.
const GDRVINFO: u32 = 0x03;
const GRXFH: u32 = 0x29;

/// `TCP_V4_FLOW`.
const TCP_OVER_IPV4: u32 = 1;

/// `struct ethtool_drvinfo`: version, firmware, bus and counts follow the name.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// `struct ethtool_rxnfc`; of it GRXFH uses the flow type and the data.
#[repr(C)]
struct FlowHash {
    command: u32,
    flow_type: u32,
    data: u64,
    rest: [u64; 22],
}

/// The kernel writes as much as its own structs hold.
const _: () = assert!(size_of::<DriverInfo>() == 196 && size_of::<FlowHash>() == 192);

/// The driver's name.
pub fn driver(interface: &str) -> Option<String> {
    let mut info = DriverInfo { command: GDRVINFO, driver: [0; 32], rest: [0; 160] };
    // SAFETY: `info` has the layout and size of the struct that GDRVINFO fills.
    unsafe { ethtool(interface, &mut info) }.ok()?;
    let name = info.driver.split(|byte| *byte == 0).next()?;
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

/// Which fields are hashed for TCP over IPv4, as `RXH_*` bits.
pub fn hash_fields(interface: &str) -> Option<u64> {
    let mut flow = FlowHash { command: GRXFH, flow_type: TCP_OVER_IPV4, data: 0, rest: [0; 22] };
    // SAFETY: `flow` has the layout and size of the struct that GRXFH reads and fills.
    unsafe { ethtool(interface, &mut flow) }.ok()?;
    Some(flow.data)
}

/// # Safety
/// `T` is the struct that the command in its first field expects, in layout and size.
unsafe fn ethtool<T>(interface: &str, data: &mut T) -> io::Result<()> {
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: std::ptr::from_mut(data).cast() },
    };
    if interface.len() >= libc::IFNAMSIZ {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    let any = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    // SAFETY: `request` names the interface in a C string and points to `data`, which the caller
    // vouches for and which outlives the call.
    match unsafe { libc::ioctl(any.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
