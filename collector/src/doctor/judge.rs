//! Facts turned into lines. Pure: the same facts give the same lines.

use super::facts::Facts;
use super::line::Line;
use crate::xdp::interface::Interface;
use crate::xdp::program::check_queues;
use crate::xdp::safety::{self, Intent};

/// Judges every topic, in a fixed order.
#[must_use]
pub fn judge(facts: &Facts, intent: Intent) -> Vec<Line> {
    vec![host_use(&facts.interface, intent), queues(&facts.interface)]
}

/// The same refusal as live capture's.
fn host_use(interface: &Interface, intent: Intent) -> Line {
    match safety::check(interface, intent) {
        Ok(()) => Line::ok("use", "capturing takes nothing from the host that it would miss"),
        Err(refusal) => Line::blocking("use", refusal.what, refusal.cure),
    }
}

fn queues(interface: &Interface) -> Line {
    match check_queues(&interface.name, interface.queues) {
        Ok(()) => Line::ok("queues", format!("{} receive queues", interface.queues)),
        Err(refusal) => Line::blocking("queues", refusal.what, refusal.cure),
    }
}
