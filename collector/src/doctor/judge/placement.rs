//! Processors: near the device, interrupts spread, frequency not saved.

use super::super::facts::Facts;
use super::super::line::Line;

fn listed(cpus: &[usize]) -> String {
    cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

pub fn node(facts: &Facts) -> Line {
    const TOPIC: &str = "numa";
    let cpus = &facts.cpus;
    let Some(node) = facts.device.numa_node else {
        return Line::ok(TOPIC, "the device belongs to no particular memory node");
    };
    if cpus.allowed.iter().any(|cpu| cpus.of_node.contains(cpu)) {
        return Line::ok(TOPIC, format!("node {node}, processors {}", listed(&cpus.of_node)));
    }
    Line::warning(
        TOPIC,
        format!("the device is on node {node}, of whose processors this process may use none"),
        format!("allow it some of {} (taskset, CPUAffinity=, cpuset)", listed(&cpus.of_node)),
    )
}

pub fn interrupts(facts: &Facts) -> Line {
    const TOPIC: &str = "interrupts";
    let interrupts = &facts.device.interrupts;
    let mut cpus: Vec<usize> = interrupts.iter().flat_map(|(_, cpus)| cpus.clone()).collect();
    cpus.sort_unstable();
    cpus.dedup();
    if interrupts.is_empty() {
        return Line::ok(TOPIC, "none of its own");
    }
    let crowded = facts.interface.queues > 1 && cpus.len() == 1 && facts.cpus.of_node.len() > 1;
    if crowded {
        let (number, other) = (interrupts[0].0, facts.cpus.of_node[1]);
        return Line::warning(
            TOPIC,
            format!("all {} arrive at processor {}", interrupts.len(), cpus[0]),
            format!(
                "spread them, for example `echo {other} > /proc/irq/{number}/smp_affinity_list`; \
                 stop irqbalance first"
            ),
        );
    }
    let strangers = cpus.iter().any(|cpu| !facts.cpus.of_node.contains(cpu));
    if facts.device.numa_node.is_some() && strangers {
        return Line::warning(
            TOPIC,
            format!("they arrive at processors {}, partly of another node", listed(&cpus)),
            format!(
                "keep them on {}: `echo {} > /proc/irq/N/smp_affinity_list`",
                listed(&facts.cpus.of_node),
                listed(&facts.cpus.of_node)
            ),
        );
    }
    Line::ok(TOPIC, format!("{} at processors {}", interrupts.len(), listed(&cpus)))
}

pub fn governor(facts: &Facts) -> Line {
    const TOPIC: &str = "governor";
    let governors = &facts.cpus.governors;
    if governors.is_empty() {
        return Line::ok(TOPIC, "the kernel does not steer the processors' frequency");
    }
    if governors.iter().all(|governor| governor == "performance") {
        return Line::ok(TOPIC, "performance");
    }
    Line::warning(
        TOPIC,
        format!("{}: processors wake up slowly", governors.join(", ")),
        "`cpupower frequency-set -g performance`",
    )
}
