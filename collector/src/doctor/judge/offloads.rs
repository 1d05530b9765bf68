//! Offloads that change what a frame looks like before it is seen.

use super::super::facts::Facts;
use super::super::line::Line;
use super::xdp::is_native;

fn is_on(facts: &Facts, name: &str) -> bool {
    facts.offloads.iter().flatten().any(|offload| offload == name)
}

/// Segments merged before XDP are neither counted nor timed right. The stack's own merging comes
/// after XDP in the driver, and before generic XDP.
pub fn merging(facts: &Facts) -> Line {
    const TOPIC: &str = "merging";
    let mut on = vec![];
    for (offload, short) in [("rx-lro", "lro"), ("rx-gro-hw", "rx-gro-hw"), ("rx-gro", "gro")] {
        let matters = short != "gro" || !is_native(facts);
        if matters && is_on(facts, offload) {
            on.push(short);
        }
    }
    if facts.offloads.is_none() {
        return Line::ok(TOPIC, "the driver does not tell its offloads");
    }
    if on.is_empty() {
        return Line::ok(TOPIC, "segments are seen as they came");
    }
    Line::warning(
        TOPIC,
        format!("{} on: segments are merged before they are seen", on.join(", ")),
        format!("`ethtool -K {} {} off`", facts.interface.name, on.join(" off ")),
    )
}

pub fn vlan(facts: &Facts) -> Line {
    const TOPIC: &str = "vlan";
    if !is_on(facts, "rx-vlan-hw-parse") {
        return Line::ok(TOPIC, "VLAN tags stay in the frame");
    }
    Line::warning(
        TOPIC,
        "the NIC takes VLAN tags off: findings carry no VLAN, and --vlan-key has no effect",
        format!("`ethtool -K {} rxvlan off`", facts.interface.name),
    )
}
