//! The host: whether it uses the interface itself, memory, kernel, capabilities.

use super::super::facts::Facts;
use super::super::line::Line;
use crate::xdp::safety::{self, Intent};

/// Capabilities of linux/capability.h that capturing needs.
const NEEDED: [(u32, &str); 4] =
    [(12, "CAP_NET_ADMIN"), (13, "CAP_NET_RAW"), (38, "CAP_PERFMON"), (39, "CAP_BPF")];
const IPC_LOCK: u32 = 14;
const SYS_ADMIN: u32 = 21;

/// Frame memory of a queue with rings of the default size: twice 16 384 frames of 2048 bytes.
const BYTES_PER_QUEUE: u64 = 2 * (1 << 14) * 2048;

/// BPF links for XDP came in 5.9; the program's helpers for cutting and timing frames by 5.18.
const OLDEST_KERNEL: (u32, u32) = (5, 18);

fn has(facts: &Facts, capability: u32) -> bool {
    facts.capabilities & (1 << capability) != 0
}

/// The same refusal as live capture's.
pub fn used_by_host(facts: &Facts, intent: Intent) -> Line {
    const TOPIC: &str = "use";
    match safety::check(&facts.interface, intent) {
        Ok(()) => Line::ok(TOPIC, "capturing takes nothing that the host would miss"),
        Err(refusal) => Line::blocking(TOPIC, refusal.what, refusal.cure),
    }
}

pub fn promiscuous(facts: &Facts, intent: Intent) -> Line {
    const TOPIC: &str = "promiscuous";
    if intent == Intent::Untouched {
        return Line::ok(TOPIC, "not needed: what is taken is addressed to this host");
    }
    if facts.device.is_virtual_function {
        return Line::warning(
            TOPIC,
            "a virtual function: promiscuous mode works only if the physical one trusts it",
            "on the machine that owns the port: `ip link set PF vf N trust on`",
        );
    }
    Line::ok(TOPIC, "set while capturing, and undone by the kernel at the end")
}

pub fn locked_memory(facts: &Facts) -> Line {
    const TOPIC: &str = "memlock";
    let needed = BYTES_PER_QUEUE * u64::from(facts.interface.queues);
    if has(facts, IPC_LOCK) {
        return Line::ok(TOPIC, "unlimited by CAP_IPC_LOCK");
    }
    match facts.memory.lockable {
        None => Line::ok(TOPIC, "unlimited"),
        Some(limit) if limit >= needed => Line::ok(TOPIC, format!("{limit} bytes")),
        Some(limit) => Line::blocking(
            TOPIC,
            format!("{limit} bytes may be locked, and the frames of all queues take {needed}"),
            "give it CAP_IPC_LOCK, or `ulimit -l unlimited` (LimitMEMLOCK=infinity), or choose a \
             smaller --ring-size",
        ),
    }
}

pub fn huge_pages(facts: &Facts) -> Line {
    const TOPIC: &str = "huge_pages";
    match facts.memory.transparent_huge_pages.as_str() {
        chosen @ ("always" | "madvise") => Line::ok(TOPIC, format!("transparent: {chosen}")),
        _ => Line::warning(
            TOPIC,
            "no transparent ones: a large table costs more memory accesses",
            "`echo madvise > /sys/kernel/mm/transparent_hugepage/enabled`",
        ),
    }
}

pub fn kernel(facts: &Facts) -> Line {
    const TOPIC: &str = "kernel";
    let kernel = &facts.kernel;
    let release = &kernel.release;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    if let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next())
        && (major, minor) < OLDEST_KERNEL
    {
        let (major, minor) = OLDEST_KERNEL;
        return Line::blocking(
            TOPIC,
            format!("Linux {release} is too old"),
            format!("use Linux {major}.{minor} or newer"),
        );
    }
    let needs = [
        (kernel.xdp, "XDP programs", "CONFIG_BPF_SYSCALL"),
        (kernel.af_xdp, "AF_XDP sockets", "CONFIG_XDP_SOCKETS"),
        (kernel.ring_buffer, "the BPF ring buffer", "CONFIG_BPF_SYSCALL, Linux 5.8"),
    ];
    for (has, what, option) in needs {
        if has == Some(false) {
            return Line::blocking(
                TOPIC,
                format!("Linux {release} has not got {what}"),
                format!("use a kernel built with {option}"),
            );
        }
    }
    let unasked = needs.iter().any(|(has, ..)| has.is_none());
    let asked = if unasked { "; without rights its BPF can't be tried" } else { "" };
    let btf = if kernel.btf { "with" } else { "without" };
    Line::ok(TOPIC, format!("Linux {release}, {btf} type information (BTF){asked}"))
}

pub fn capabilities(facts: &Facts) -> Line {
    const TOPIC: &str = "capabilities";
    let bpf_by_admin = |capability| capability >= 38 && has(facts, SYS_ADMIN);
    let missing: Vec<_> = NEEDED
        .iter()
        .filter(|(capability, _)| !has(facts, *capability) && !bpf_by_admin(*capability))
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() {
        return Line::ok(TOPIC, "all that capturing needs");
    }
    Line::blocking(
        TOPIC,
        format!("this process lacks {}", missing.join(", ")),
        "run it as root, or `setcap cap_net_raw,cap_net_admin,cap_bpf,cap_perfmon,cap_ipc_lock+ep` \
         on the command",
    )
}
