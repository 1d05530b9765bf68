//! What the kernel says of an interface: index, queues, MTU, state, and who uses it. Reads only.

use std::ffi::CString;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::capture::sys;

/// `IFF_UP` of linux/if.h.
const IFF_UP: u32 = 1;

/// `RTF_UP` of linux/route.h, as /proc/net/route prints it.
const RTF_UP: u32 = 1;

/// `RTF_REJECT` of linux/route.h: IPv6 lists its "unreachable" default with it.
const RTF_REJECT: u32 = 0x200;

/// A network interface at the moment it was looked up.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// The kernel's index.
    pub index: u32,
    /// Receive queues in use.
    pub queues: u32,
    /// Largest IP packet, bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub is_up: bool,
    /// Its addresses, IPv6 link-local ones included.
    pub addresses: Vec<IpAddr>,
    /// Whether a default route, IPv4 or IPv6, goes out of it.
    pub has_default_route: bool,
    /// The bridge, bond or team it belongs to.
    pub master: Option<String>,
    /// Interfaces on top of it: VLANs, macvlans ...
    pub uppers: Vec<String>,
}

impl Interface {
    /// Asks the kernel about the interface `name`.
    ///
    /// # Errors
    /// There is none of that name (the text lists those there are), or the kernel can't be asked.
    pub fn look_up(name: &str) -> anyhow::Result<Self> {
        let Some(index) = CString::new(name).ok().and_then(|n| sys::interface_index(&n).ok())
        else {
            bail!("there is no interface {name}; there are: {}", existing().join(", "));
        };
        let dir = Path::new("/sys/class/net").join(name);
        if read_number(&dir.join("ifindex"), 10).ok() != Some(index) {
            bail!(
                "/sys does not show interface {name} of this network namespace; enter the namespace \
                 with `ip netns exec`, which mounts its own /sys"
            );
        }
        let flags = fs::read_to_string(dir.join("flags"))
            .with_context(|| format!("reading the flags of interface {name}"))?;
        let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16)
            .with_context(|| format!("reading the flags of interface {name}"))?;
        let addresses = sys::interface_addresses().context("asking for interface addresses")?;
        let own = addresses.into_iter().filter(|(owner, _)| owner == name);
        let entries = |prefix| links(&dir, prefix);
        Ok(Self {
            index,
            queues: count_queues(&dir)?,
            mtu: read_number(&dir.join("mtu"), 10)?,
            is_up: flags & IFF_UP != 0,
            addresses: own.map(|(_, address)| address).collect(),
            has_default_route: has_default_route(name),
            // Every upper_ link of an enslaved interface but its master is on top of it.
            master: fs::read_link(dir.join("master")).ok().and_then(file_name),
            uppers: entries("upper_"),
            name: name.to_owned(),
        })
    }

    /// Addresses by which the host itself is reached. IPv6 gives every interface that is up a
    /// link-local one, mirror ports too: those don't count.
    pub fn own_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.addresses.iter().copied().filter(|address| match address {
            IpAddr::V4(_) => true,
            IpAddr::V6(address) => !address.is_unicast_link_local(),
        })
    }

    /// Frames that the interface itself lost since it came up: no buffer, FIFO overrun, missed.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let dir = Path::new("/sys/class/net").join(&self.name).join("statistics");
        ["rx_missed_errors", "rx_fifo_errors", "rx_over_errors"]
            .iter()
            .filter_map(|name| fs::read_to_string(dir.join(name)).ok()?.trim().parse::<u64>().ok())
            .sum()
    }
}

/// An address as the program and records hold it: IPv4 mapped into IPv6.
#[must_use]
pub fn mapped(address: IpAddr) -> [u8; 16] {
    let address: Ipv6Addr = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    address.octets()
}

fn existing() -> Vec<String> {
    let entries = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn read_number(path: &Path, radix: u32) -> anyhow::Result<u32> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    u32::from_str_radix(text.trim(), radix)
        .with_context(|| format!("reading a number from {}", path.display()))
}

/// Receive queues in use, by an interface's folder in /sys.
///
/// # Errors
/// The folder can't be read.
pub fn count_queues(interface: &Path) -> anyhow::Result<u32> {
    let dir = interface.join("queues");
    let names = names(&dir).with_context(|| format!("listing {}", dir.display()))?;
    let count = names.iter().filter(|name| name.starts_with("rx-")).count();
    Ok(u32::try_from(count.max(1))?)
}

fn links(dir: &Path, prefix: &str) -> Vec<String> {
    let names = names(dir).unwrap_or_default();
    names.iter().filter_map(|name| name.strip_prefix(prefix)).map(str::to_owned).collect()
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(dir)?.flatten();
    Ok(entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

fn file_name(path: PathBuf) -> Option<String> {
    path.file_name().map(|name| name.to_string_lossy().into_owned())
}

fn has_default_route(name: &str) -> bool {
    let ipv4 = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let ipv6 = fs::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    ipv4.lines().any(|line| is_ipv4_default(line, name))
        || ipv6.lines().any(|line| is_ipv6_default(line, name))
}

/// Columns of /proc/net/route: interface, destination, gateway, flags, ..., mask (column 7).
fn is_ipv4_default(line: &str, name: &str) -> bool {
    let columns: Vec<&str> = line.split_ascii_whitespace().collect();
    let [interface, destination, _, flags, _, _, _, mask, ..] = columns[..] else { return false };
    let flags = u32::from_str_radix(flags, 16).unwrap_or(0);
    interface == name && destination == "00000000" && mask == "00000000" && flags & RTF_UP != 0
}

/// Columns of /proc/net/ipv6_route: destination, its prefix length, ..., flags (8), interface (9).
fn is_ipv6_default(line: &str, name: &str) -> bool {
    let columns: Vec<&str> = line.split_ascii_whitespace().collect();
    let [destination, prefix, _, _, _, _, _, _, flags, interface] = columns[..] else {
        return false;
    };
    let flags = u32::from_str_radix(flags, 16).unwrap_or(0);
    interface == name
        && prefix == "00"
        && destination.bytes().all(|byte| byte == b'0')
        && flags & RTF_UP != 0
        && flags & RTF_REJECT == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_routes_are_told_from_others() {
        let default = "ens5\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0";
        let local = "ens5\t0000A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0";
        assert!(is_ipv4_default(default, "ens5"));
        assert!(!is_ipv4_default(default, "ens6"));
        assert!(!is_ipv4_default(local, "ens5"));
        let zeros = "0".repeat(32);
        let six = |prefix: &str, flags: &str| {
            format!("{zeros} {prefix} {zeros} 00 {zeros} 00000400 1 0 {flags} ens5")
        };
        assert!(is_ipv6_default(&six("00", "00000003"), "ens5"));
        assert!(!is_ipv6_default(&six("00", "00200200"), "ens5"));
        assert!(!is_ipv6_default(&six("40", "00000001"), "ens5"));
    }

    #[test]
    fn an_unknown_interface_is_told_with_those_there_are() {
        let error = Interface::look_up("no-such-if0").unwrap_err().to_string();
        assert!(error.contains("no-such-if0") && error.contains("lo"), "{error}");
    }
}
