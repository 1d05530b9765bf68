//! Facts turned into lines. Pure: the same facts give the same lines.

mod hashing;
mod host;
mod offloads;
mod placement;
mod queues;
#[cfg(test)]
mod recorded;
mod xdp;

use super::facts::Facts;
use super::line::Line;
use crate::xdp::safety::Intent;

/// Judges every topic, in a fixed order.
#[must_use]
pub fn judge(facts: &Facts, intent: Intent) -> Vec<Line> {
    vec![
        host::used_by_host(facts, intent),
        xdp::driver(facts),
        xdp::modes(facts),
        xdp::zero_copy(facts),
        xdp::mtu(facts),
        queues::queues(facts),
        queues::rings(facts),
        hashing::symmetry(facts),
        hashing::fields(facts),
        offloads::merging(facts),
        offloads::vlan(facts),
        host::promiscuous(facts, intent),
        placement::node(facts),
        placement::interrupts(facts),
        placement::governor(facts),
        host::locked_memory(facts),
        host::huge_pages(facts),
        host::kernel(facts),
        host::capabilities(facts),
    ]
}
