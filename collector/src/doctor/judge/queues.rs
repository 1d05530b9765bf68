//! Receive queues against sockets and processors, and the size of their rings.

use super::super::facts::Facts;
use super::super::line::Line;
use super::xdp::known;
use crate::xdp::program::check_queues;

/// A ring of this many frames rides out about 0.3 ms at 14.88 million frames a second.
const RING_ENOUGH: u32 = 4096;

pub fn queues(facts: &Facts) -> Line {
    const TOPIC: &str = "queues";
    let (name, queues) = (&facts.interface.name, facts.interface.queues);
    if let Err(refusal) = check_queues(name, queues) {
        return Line::blocking(TOPIC, refusal.what, refusal.cure);
    }
    let channels = facts.channels.unwrap_or_default();
    let half = known(facts).is_some_and(|driver| driver.needs_half_of_queues);
    if half && 2 * channels.combined > channels.combined_max {
        return Line::warning(
            TOPIC,
            format!(
                "{} of {} queues in use, and this driver keeps one more for each that runs XDP",
                channels.combined, channels.combined_max
            ),
            format!("`ethtool -L {name} combined {}`", (channels.combined_max / 2).max(1)),
        );
    }
    let cpus = facts.cpus.allowed.len() as u32;
    if cpus > 0 && queues > cpus {
        let kind = if channels.combined > 0 { "combined" } else { "rx" };
        return Line::warning(
            TOPIC,
            format!("{queues} receive queues, each with a worker, on {cpus} processors"),
            format!("`ethtool -L {name} {kind} {cpus}`"),
        );
    }
    match queues {
        1 => Line::ok(TOPIC, "one receive queue, one worker"),
        _ => Line::ok(TOPIC, format!("{queues} receive queues, a socket and a worker for each")),
    }
}

pub fn rings(facts: &Facts) -> Line {
    const TOPIC: &str = "rings";
    let Some(rings) = facts.rings else {
        return Line::ok(TOPIC, "the driver does not tell; a virtual interface needs no change");
    };
    let wanted = rings.rx_max.min(RING_ENOUGH);
    if rings.rx >= wanted {
        return Line::ok(TOPIC, format!("{} frames of {}", rings.rx, rings.rx_max));
    }
    Line::warning(
        TOPIC,
        format!("{} frames of {}: a burst of more is lost in the NIC", rings.rx, rings.rx_max),
        format!("`ethtool -G {} rx {wanted}`", facts.interface.name),
    )
}
