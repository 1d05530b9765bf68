//! Memory nodes: which one a device is attached to, and which processors belong to it.

use std::fs;
use std::path::Path;

use crate::value_args::cpu_list;

/// The node of the device behind an interface; none for virtual ones and where there is but one.
#[must_use]
pub fn node_of(interface: &str) -> Option<u32> {
    let path = Path::new("/sys/class/net").join(interface).join("device/numa_node");
    // The kernel says -1 for "no node".
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The processors of `node`; all that are online without one.
#[must_use]
pub fn cpus(node: Option<u32>) -> Vec<usize> {
    let path = node.map_or_else(
        || "/sys/devices/system/cpu/online".to_owned(),
        |node| format!("/sys/devices/system/node/node{node}/cpulist"),
    );
    let text = fs::read_to_string(path).unwrap_or_default();
    cpu_list(text.trim()).map(|list| list.0).unwrap_or_default()
}
