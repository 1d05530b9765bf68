//! What to do about sources that run out of ports, clocks that mix, hosts that refuse by them, and
//! about the feed.

use xdpwatch_core::finding::{Fact, Finding};

use super::advice::Advice;

const MORE_SOURCES: Advice = Advice {
    component: "balancer",
    setting: "as many source addresses as are needed (F5: SNAT pool; HAProxy: several `source`)",
    why: "each address has its own 64 k ports towards one service",
};
const MORE_SERVICES: Advice = Advice {
    component: "server",
    setting: "more server addresses or ports behind the service",
    why: "ports are counted for each destination: every further one doubles, triples ... them",
};
const WIDER_RANGE: Advice = Advice {
    component: "client",
    setting: "net.ipv4.ip_local_port_range = 1024 65535 (Windows: netsh int ipv4 set dynamicport tcp)",
    why: "the default range is less than half of all ports",
};
const KEEP_ALIVE: Advice = Advice {
    component: "client",
    setting: "keep connections alive, or pool them (HAProxy: option http-keep-alive, http-reuse)",
    why: "fewer connections per second hold fewer ports in TIME_WAIT",
};
const A10_MSL: Advice = Advice {
    component: "a10",
    setting: "ignore-tcp-msl in the virtual-port template",
    why: "frees the A10's own session at once; the server's TIME_WAIT stays",
};
const ONE_CLOCK: Advice = Advice {
    component: "balancer",
    setting: "one timestamp clock per source-NAT address (F5 FastL4: tcp-timestamp-mode rewrite)",
    why: "a holder, or a server with tw_recycle, takes the lower of several clocks for old",
};
const ONE_CLIENT: Advice = Advice {
    component: "balancer",
    setting: "a source-NAT pool large enough that a tuple comes back after its TIME_WAIT",
    why: "timestamps of different clients then never meet on a tuple that is still held",
};
const NO_RECYCLE: Advice = Advice {
    component: "server",
    setting: "net.ipv4.tcp_tw_recycle = 0 (the setting is gone since Linux 4.12)",
    why: "it drops SYNs of all clients behind one address but the one whose clock is ahead",
};
const BOTH_DIRECTIONS: Advice = Advice {
    component: "mirror",
    setting: "mirror both directions (SPAN: `both`), on every path that answers take",
    why: "without the answers nothing can be said of who refused what",
};
const ONE_COPY: Advice = Advice {
    component: "mirror",
    setting: "mirror each port in one direction, or one port of each path only",
    why: "copies are recognised, but cost the mirror and this host twice the work",
};
const LESS_LOSS: Advice = Advice {
    component: "sensor",
    setting: "more queues and workers, larger rings (--ring-size); `xdpwatch doctor` says what is short",
    why: "a lost answer looks like none",
};
const SYMMETRIC: Advice = Advice {
    component: "sensor",
    setting: "--owner hash, or a symmetric hash key for receive-side scaling",
    why: "one worker must see both directions of a connection",
};

/// What to do about this finding, most effective first; `None` for rules of another file.
#[must_use]
pub fn advice(finding: &Finding) -> Option<Vec<Advice>> {
    let kind = match finding.fact("kind") {
        Some(Fact::Word(word)) => word,
        _ => "",
    };
    Some(match (finding.rule.name, kind) {
        ("port_pressure", _) => {
            vec![MORE_SOURCES, KEEP_ALIVE, WIDER_RANGE, MORE_SERVICES, A10_MSL]
        }
        ("mixed_clocks", _) => vec![ONE_CLOCK, ONE_CLIENT],
        ("host_timestamp_refusal", _) => vec![NO_RECYCLE, ONE_CLOCK],
        ("mirror_fault", "one_direction") => vec![BOTH_DIRECTIONS],
        ("mirror_fault", "duplicates") => vec![ONE_COPY],
        ("mirror_fault", "loss") => vec![LESS_LOSS],
        ("mirror_fault", _) => vec![SYMMETRIC],
        _ => return None,
    })
}
