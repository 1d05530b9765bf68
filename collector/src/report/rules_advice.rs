//! What to do about services that refuse, connections that never close, and those that close too
//! often.

use xdpwatch_core::finding::{Fact, Finding};

use super::advice::Advice;

const SEAMLESS: Advice = Advice {
    component: "haproxy",
    setting: "seamless reload: master-worker mode, or -x with `expose-fd listeners` on the stats socket",
    why: "the new process takes over the listening sockets, so that none is closed in between",
};
const MIGRATE: Advice = Advice {
    component: "server",
    setting: "net.ipv4.tcp_migrate_req = 1 with SO_REUSEPORT (Linux 5.14 or later)",
    why: "handshakes and accepted connections of a listener that closes go to another one",
};
const DRAIN: Advice = Advice {
    component: "balancer",
    setting: "take the server out of the pool before it restarts, and in again after its health check",
    why: "nobody is sent to a port where nobody listens",
};
const CLIENT_FIN: Advice = Advice {
    component: "haproxy",
    setting: "timeout client-fin 30s",
    why: "bounds the wait for a client that never closes; `timeout client` alone may be a day",
};
const SERVER_FIN: Advice = Advice {
    component: "haproxy",
    setting: "timeout server-fin 30s",
    why: "bounds the wait for a server that never closes; `timeout server` alone may be a day",
};
const TUNNEL: Advice = Advice {
    component: "haproxy",
    setting: "timeout tunnel 1h",
    why: "WebSockets and CONNECT follow this time-out, not those of client and server",
};
const HARD_STOP: Advice = Advice {
    component: "haproxy",
    setting: "hard-stop-after 30m",
    why: "processes of earlier reloads linger for as long as one connection of theirs does",
};
const CLOSE_BACK: Advice = Advice {
    component: "server",
    setting: "close the socket when the peer has closed (read returns 0)",
    why: "CLOSE_WAIT has no time-out: only the application ends it",
};
const ORPHANS: Advice = Advice {
    component: "server",
    setting: "net.ipv4.tcp_orphan_retries = 3 (0 means 8)",
    why: "bounds how long a FIN without an owner is repeated: seconds instead of minutes",
};
const FIN_PATH: Advice = Advice {
    component: "path",
    setting: "stateful devices must remember half-closed connections as long as the ends do",
    why: "a firewall that has forgotten the connection drops the FIN or its acknowledgment",
};
const KEEP_ALIVE: Advice = Advice {
    component: "haproxy",
    setting: "option http-keep-alive instead of httpclose (formerly forceclose)",
    why: "one connection then carries many requests, and its tuple is used once for all of them",
};
const KEEP_LONGER: Advice = Advice {
    component: "server",
    setting: "keep-alive on, with a time-out longer than the client's or balancer's",
    why: "the server then is not the end that closes first, holds TIME_WAIT, and accepts the next SYN",
};
const TW_REUSE: Advice = Advice {
    component: "client",
    setting: "net.ipv4.tcp_tw_reuse = 1, with timestamps on both ends",
    why: "the end that connects holds TIME_WAIT here and may then take its port again after a second",
};
const MORE_TUPLES: Advice = Advice {
    component: "balancer",
    setting: "more source addresses, a wider port range, or more server ports",
    why: "the same tuple then comes back later",
};

/// What to do about this finding, most effective first; `None` for rules of another file.
#[must_use]
pub fn advice(finding: &Finding) -> Option<Vec<Advice>> {
    let is = |label, word| finding.fact(label) == Some(Fact::Word(word));
    Some(match finding.rule.name {
        "listener_gap" => vec![SEAMLESS, MIGRATE, DRAIN],
        "half_closed" if is("waiting_for", "client") => vec![CLIENT_FIN, TUNNEL, HARD_STOP],
        "half_closed" => vec![SERVER_FIN, CLOSE_BACK, TUNNEL, HARD_STOP],
        "fin_unacknowledged" => vec![FIN_PATH, ORPHANS],
        "churn" if is("closes_first", "client") => vec![KEEP_ALIVE, MORE_TUPLES, TW_REUSE],
        "churn" => vec![KEEP_ALIVE, KEEP_LONGER, MORE_TUPLES],
        _ => return None,
    })
}
