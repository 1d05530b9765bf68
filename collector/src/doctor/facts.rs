//! What the kernel says, as plain data: gathered here, judged elsewhere. What it does not say is
//! `None`: an old kernel, a driver without the operation, or a missing right.

use crate::xdp::interface::Interface;
use crate::xdp::numa;

use super::{host, ioctl, netlink, sysfs};

/// Everything that is judged.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The interface itself, and who uses it.
    pub interface: Interface,
    /// The device behind it.
    pub device: Device,
    /// What XDP its driver offers.
    pub xdp: Option<XdpFeatures>,
    /// Its queues.
    pub channels: Option<Channels>,
    /// Its ring sizes.
    pub rings: Option<Rings>,
    /// How it spreads frames over queues.
    pub rss: Option<Rss>,
    /// Fields that are hashed for TCP over IPv4: `RXH_*` bits of linux/ethtool.h.
    pub hash_fields: Option<u64>,
    /// Names of the offloads that are on, as ethtool calls them.
    pub offloads: Option<Vec<String>>,
    /// The processors.
    pub cpus: Cpus,
    /// Memory limits.
    pub memory: Memory,
    /// The kernel.
    pub kernel: Kernel,
    /// Effective capabilities of this process, one bit each.
    pub capabilities: u64,
}

/// The device behind an interface.
#[derive(Clone, Debug, Default)]
pub struct Device {
    /// The driver's name.
    pub driver: Option<String>,
    /// Bus and address, `pci 0000:00:05.0`.
    pub bus: Option<String>,
    /// The memory node it is attached to.
    pub numa_node: Option<u32>,
    /// Whether it is a virtual function of another device.
    pub is_virtual_function: bool,
    /// Processors of each of its interrupts.
    pub interrupts: Vec<(u32, Vec<usize>)>,
}

/// netdev(7) generic netlink: `xdp-features` and `xdp-zc-max-segs`.
#[derive(Clone, Copy, Debug)]
pub struct XdpFeatures {
    /// `NETDEV_XDP_ACT_*` bits of linux/netdev.h.
    pub bits: u64,
    /// Buffers that one frame may have with zero copy; 1 or absent: one.
    pub zero_copy_segments: u32,
}

/// Queues: combined ones, or separate ones for receiving.
#[derive(Clone, Copy, Debug, Default)]
pub struct Channels {
    /// Combined queues in use.
    pub combined: u32,
    /// The most there can be.
    pub combined_max: u32,
    /// Receive-only queues in use.
    pub rx: u32,
    /// The most there can be.
    pub rx_max: u32,
}

/// Frames in each receive ring.
#[derive(Clone, Copy, Debug)]
pub struct Rings {
    /// Now.
    pub rx: u32,
    /// At most.
    pub rx_max: u32,
}

/// Receive-side scaling.
#[derive(Clone, Debug)]
pub struct Rss {
    /// The hash function's bit: 1 Toeplitz, 2 XOR, 4 CRC32.
    pub function: u32,
    /// Its key.
    pub key: Vec<u8>,
    /// What is done to the fields first: bit 0 symmetric-xor (Linux 6.8), bit 1 symmetric-or-xor.
    pub transform: u32,
}

/// The processors.
#[derive(Clone, Debug, Default)]
pub struct Cpus {
    /// Those this process may run on.
    pub allowed: Vec<usize>,
    /// Those of the device's memory node; all where there is only one.
    pub of_node: Vec<usize>,
    /// Frequency governors in use, each once; empty where the kernel does not steer frequency.
    pub governors: Vec<String>,
}

/// Memory limits.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Locked memory allowed, bytes; `None` is unlimited.
    pub lockable: Option<u64>,
    /// The choice in `transparent_hugepage/enabled`; empty if the kernel has none.
    pub transparent_huge_pages: String,
}

/// The kernel's version and what of it is needed; `None` where it could not be asked.
#[derive(Clone, Debug, Default)]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// XDP programs.
    pub xdp: Option<bool>,
    /// AF_XDP sockets.
    pub af_xdp: Option<bool>,
    /// The BPF ring buffer (tap mode).
    pub ring_buffer: Option<bool>,
    /// The kernel's own type information.
    pub btf: bool,
}

impl Facts {
    /// Asks the kernel about the interface `name` and the host.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn gather(name: &str) -> anyhow::Result<Self> {
        let interface = Interface::look_up(name)?;
        let answers = netlink::ask(interface.index);
        let mut device = sysfs::device(name);
        if device.driver.is_none() {
            device.driver = ioctl::driver(name);
        }
        let cpus = Cpus {
            allowed: crate::capture::sys::allowed_cpus(),
            of_node: numa::cpus(device.numa_node),
            governors: sysfs::governors(),
        };
        Ok(Self {
            xdp: answers.xdp,
            channels: answers.channels,
            rings: answers.rings,
            rss: answers.rss,
            offloads: answers.offloads,
            hash_fields: ioctl::hash_fields(name),
            cpus,
            memory: host::memory(),
            kernel: host::kernel(),
            capabilities: host::capabilities(),
            device,
            interface,
        })
    }
}
