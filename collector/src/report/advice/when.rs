//! On what advice depends: each condition in words, and as a question to a finding's facts.

use xdpwatch_core::finding::{Fact, Finding};

use crate::lang::{Said, said};

/// A condition.
#[derive(Clone, Copy, Debug)]
pub struct When {
    /// In words; goes on after the component's name.
    pub said: Said,
    /// Whether it holds.
    pub holds: fn(&Finding) -> bool,
}

pub(super) const NOT_THE_SAME_HOST: When = When {
    said: said("unless the same host sends as before", "发送方不是原来那台主机时"),
    holds: |finding| finding.fact("different_sender") != Some(Fact::Flag(false)),
};

pub(super) const PORT_KEPT: When = When {
    said: said("where it keeps the client's port", "保留客户端端口时"),
    holds: |finding| match finding.fact("legs.new.src_port") {
        Some(Fact::Number(port)) => port == i64::from(finding.src.port),
        _ => true,
    },
};

pub(super) const SERVER_CLOSED: When = When {
    said: said("where it closed first", "由它先关闭时"),
    holds: |finding| is(finding, "holder.closed_by", "server"),
};

pub(super) const SERVER_CLOSES: When = When {
    said: said("where it closes first", "由它先关闭时"),
    holds: |finding| is(finding, "closes_first", "server"),
};

pub(super) const WAITS_FOR_CLIENT: When = When {
    said: said("where the client does not close", "客户端不关闭时"),
    holds: |finding| is(finding, "waiting_for", "client"),
};

pub(super) const WAITS_FOR_SERVER: When = When {
    said: said("where the server does not close", "服务器不关闭时"),
    holds: |finding| is(finding, "waiting_for", "server"),
};

pub(super) const NO_TIMESTAMPS: When = When {
    said: said("where it sends none and is one host", "没有发送时间戳、且只有一台主机时"),
    holds: |finding| {
        finding.fact("ts_delta") == Some(Fact::Unknown)
            && finding.fact("different_sender") != Some(Fact::Flag(true))
    },
};

pub(super) const NO_RESET: When = When {
    said: said("where no RST follows the old ACK", "旧 ACK 之后没有出现 RST 时"),
    holds: |finding| {
        finding.fact("resets_by_initiator") == Some(Fact::Number(0))
            && !is(finding, "outcome", "recovered")
    },
};

pub(super) const RESET_IGNORED: When = When {
    said: said("where a RST came and did not free the tuple", "收到 RST 却没有释放四元组时"),
    holds: |finding| {
        let resets = finding.fact("resets_by_initiator");
        matches!(resets, Some(Fact::Number(1..))) && is(finding, "outcome", "failed")
    },
};

pub(super) const WINDOWS: When = When {
    said: said("where it runs Windows", "运行 Windows 时"),
    holds: |finding| is(finding, "host_model", "windows"),
};

pub(super) const ONE_DIRECTION: When = When {
    said: said("where one direction is missing", "缺一个方向时"),
    holds: |finding| is(finding, "kind", "one_direction"),
};

pub(super) const DUPLICATES: When = When {
    said: said("where packets come twice", "报文重复时"),
    holds: |finding| is(finding, "kind", "duplicates"),
};

pub(super) const LOSS: When = When {
    said: said("where packets are lost", "丢包时"),
    holds: |finding| is(finding, "kind", "loss"),
};

pub(super) const ASYMMETRIC: When = When {
    said: said("where the two directions reach different queues", "两个方向进了不同队列时"),
    holds: |finding| is(finding, "kind", "asymmetric_queues"),
};

fn is(finding: &Finding, label: &str, word: &'static str) -> bool {
    finding.fact(label) == Some(Fact::Word(word))
}
