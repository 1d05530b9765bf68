//! The host's part: memory limits, kernel, capabilities.

use std::fs;
use std::path::Path;

use aya::maps::MapType;
use aya::programs::ProgramType;
use aya::sys::{is_map_supported, is_program_supported};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::process::{Resource, getrlimit};
use rustix::thread::capabilities as capabilities_of;

use super::facts::{Kernel, Memory};

/// Memory limits of this process and host.
pub fn memory() -> Memory {
    let choices = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    let choices = choices.unwrap_or_default();
    let chosen = choices.split(['[', ']']).nth(1).unwrap_or_default();
    Memory {
        lockable: getrlimit(Resource::Memlock).current,
        transparent_huge_pages: chosen.to_owned(),
    }
}

/// The kernel. BPF is probed by loading the smallest program and map, which takes CAP_BPF.
pub fn kernel() -> Kernel {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let af_xdp = match socket(AddressFamily::XDP, SocketType::RAW, None) {
        Ok(_) => Some(true),
        Err(Errno::PERM) => None,
        Err(_) => Some(false),
    };
    Kernel {
        release: release.trim().to_owned(),
        xdp: is_program_supported(ProgramType::Xdp).ok(),
        af_xdp,
        ring_buffer: is_map_supported(MapType::RingBuf).ok(),
        btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
    }
}

/// This process's effective capabilities, one bit each.
pub fn capabilities() -> u64 {
    capabilities_of(None).map_or(0, |sets| sets.effective.bits())
}
