//! What to do about a finding: which setting on which component, and why it cures this cause.
//!
//! Nothing is advised that the facts contradict: `tcp_tw_reuse` never helps the side that accepts,
//! stripping timestamps hides the cause, `tcp_tw_recycle` breaks clients behind NAT.

use xdpwatch_core::finding::{Fact, Finding};

use super::{rules_advice, source_advice};

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// On what.
    pub component: &'static str,
    /// Which setting, to what.
    pub setting: &'static str,
    /// Why that helps.
    pub why: &'static str,
}

const ONE_CLOCK: Advice = Advice {
    component: "balancer",
    setting: "one timestamp clock per source-NAT address (F5 FastL4: tcp-timestamp-mode rewrite)",
    why: "several clients behind one tuple have several clocks; the holder takes a lower one for old",
};
const LARGER_POOL: Advice = Advice {
    component: "balancer",
    setting: "more source addresses in the source-NAT pool, or source-port change instead of preserve",
    why: "the same tuple then comes back after its TIME_WAIT, not within it",
};
const OTHER_CLOSES: Advice = Advice {
    component: "server",
    setting: "keep-alive time-out longer than the balancer's idle time-out",
    why: "the end that closes first holds TIME_WAIT; then it is no longer the one that accepts",
};
const LET_RECOVER: Advice = Advice {
    component: "path",
    setting: "let the server's bare ACK and the client's RST through (stateful firewalls, F5 K47804233)",
    why: "the client answers the old ACK with RST, which frees the tuple; its next SYN is accepted",
};
const TIMESTAMPS: Advice = Advice {
    component: "client",
    setting: "TCP timestamps on (Windows: netsh int tcp set global timestamps=enabled)",
    why: "a newer timestamp is accepted whatever the sequence number",
};
const IDLE_RESET: Advice = Advice {
    component: "balancer",
    setting: "reset connections when their idle time-out ends (F5: reset-on-timeout enabled)",
    why: "the server then knows that the connection is gone before its tuple is used again",
};
const KEEPALIVE: Advice = Advice {
    component: "server",
    setting: "TCP keepalive shorter than the balancer's idle time-out",
    why: "a connection whose other end is gone is noticed and freed",
};
const FIN_TIMEOUTS: Advice = Advice {
    component: "server",
    setting: "close both directions, bounded (HAProxy: timeout client-fin, timeout server-fin)",
    why: "FIN_WAIT2 ends only with the other end's FIN or a time-out, and never accepts a SYN",
};
const IPVS: Advice = Advice {
    component: "ipvs",
    setting: "net.ipv4.vs.conn_reuse_mode = 0, or a kernel of 5.9 or later",
    why: "with mode 1 the first SYN on a reused tuple is dropped and only the next one passes",
};
const LISTENER: Advice = Advice {
    component: "server",
    setting: "check that the service still listens on this port",
    why: "without a listener even an acceptable SYN gets the old connection's ACK",
};
const PACE: Advice = Advice {
    component: "client",
    setting: "no faster retries: the holder answers once per 500 ms (tcp_invalid_ratelimit)",
    why: "SYNs within that time are silently ignored, whatever they carry",
};
const WHO_REFUSES: Advice = Advice {
    component: "path",
    setting: "find who sends the RST: compare its TTL with the server's other segments",
    why: "a holder in TIME_WAIT does not answer RST to a SYN",
};
const OTHER_TAP: Advice = Advice {
    component: "path",
    setting: "capture at the holder too and compare",
    why: "from here nothing shows whether the SYN or its answer was lost",
};

/// What to do about this finding, most effective first.
#[must_use]
pub fn advice(finding: &Finding) -> Vec<Advice> {
    if let Some(advice) = rules_advice::advice(finding).or_else(|| source_advice::advice(finding)) {
        return advice;
    }
    let mut advice = match finding.cause {
        "paws" => vec![ONE_CLOCK, LARGER_POOL],
        "sequence" => vec![LARGER_POOL],
        "in_use" => vec![IDLE_RESET, KEEPALIVE],
        "fin_wait2" => vec![FIN_TIMEOUTS, LARGER_POOL],
        "first_syn_dropped" => vec![IPVS, LARGER_POOL],
        "rate_limited" => vec![PACE],
        "listener_gone" => vec![LISTENER],
        "refused" => vec![WHO_REFUSES],
        "none" => Vec::new(),
        _ => vec![OTHER_TAP],
    };
    let is = |label, word| finding.fact(label) == Some(Fact::Word(word));
    let refused = matches!(finding.cause, "paws" | "sequence");
    if finding.cause == "sequence" && finding.fact("ts_delta") == Some(Fact::Unknown) {
        advice.push(TIMESTAMPS);
    }
    if refused && is("holder.closed_by", "server") {
        advice.push(OTHER_CLOSES);
    }
    let no_reset = finding.fact("resets_by_initiator") == Some(Fact::Number(0));
    if no_reset && (refused || finding.cause == "in_use") && !is("outcome", "recovered") {
        advice.push(LET_RECOVER);
    }
    advice
}
