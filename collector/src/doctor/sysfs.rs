//! What /sys and /proc tell of a device: driver, bus, memory node, interrupts; and of the
//! processors' frequency.

use std::fs;
use std::path::{Path, PathBuf};

use super::facts::Device;
use crate::value_args::cpu_list;
use crate::xdp::numa;

/// The device behind the interface `name`; empty for a virtual interface.
pub fn device(name: &str) -> Device {
    let path = Path::new("/sys/class/net").join(name).join("device");
    let link = |name: &str| {
        let target = fs::read_link(path.join(name)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    };
    let address = fs::canonicalize(&path)
        .ok()
        .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    Device {
        driver: link("driver"),
        bus: link("subsystem").zip(address).map(|(bus, address)| format!("{bus} {address}")),
        numa_node: numa::node_of(name),
        is_virtual_function: path.join("physfn").exists(),
        interrupts: interrupts(&path),
    }
}

/// A PCI device lists its interrupts; a virtio device's are its parent's.
fn interrupts(device: &Path) -> Vec<(u32, Vec<usize>)> {
    let parent = fs::canonicalize(device).ok().and_then(|path| path.parent().map(PathBuf::from));
    let places = [Some(device.to_owned()), parent];
    let dir = places.into_iter().flatten().map(|place| place.join("msi_irqs"));
    let Some(entries) = dir.filter_map(|dir| fs::read_dir(dir).ok()).next() else {
        return Vec::new();
    };
    let mut numbers: Vec<u32> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers.into_iter().filter_map(|number| Some((number, processors(number)?))).collect()
}

/// Where an interrupt really arrives; where it may, on kernels that don't tell that.
fn processors(interrupt: u32) -> Option<Vec<usize>> {
    let read = |name| fs::read_to_string(format!("/proc/irq/{interrupt}/{name}")).ok();
    let text = read("effective_affinity_list")
        .filter(|text| !text.trim().is_empty())
        .or_else(|| read("smp_affinity_list"))?;
    Some(cpu_list(text.trim()).ok()?.0)
}

/// The frequency governors in use, each once.
pub fn governors() -> Vec<String> {
    let cpus = numa::cpus(None);
    let mut governors: Vec<_> = cpus
        .iter()
        .filter_map(|cpu| {
            let dir = format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
            Some(fs::read_to_string(dir).ok()?.trim().to_owned())
        })
        .collect();
    governors.sort();
    governors.dedup();
    governors
}
