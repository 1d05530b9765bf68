//! 服务与关闭类规则的语句。 The sentences of the rules about services and closes.

use xdpwatch_core::finding::{Fact, Finding, State};

use super::{seconds, side};
use crate::report::values::{count, endpoint, leg, word};

/// A listener that lives refuses for a moment.
#[must_use]
pub fn listener_gap(finding: &Finding) -> String {
    let what = match word(finding, "kind") {
        "syn" => "SYN 得到 RST",
        "handshake" => "已接受的连接在发出数据之前被复位",
        _ => "SYN 得到 RST，且已接受的连接被复位",
    };
    let then = match word(finding, "outcome") {
        "pending" => "",
        "alive_again" => "；已恢复接受连接",
        "silent" => "；此后再无连接请求",
        _ => "；直到结束仍是如此",
    };
    format!(
        "{} 本在正常监听，却在 {} 内拒绝了 {} 次（{what}）{then}",
        endpoint(&finding.dst),
        seconds(finding, "window_ms"),
        count(finding, "refused")
    )
}

/// One direction is closed, the other stays open.
#[must_use]
pub fn half_closed(finding: &Finding) -> String {
    let (src, dst) = (endpoint(&finding.src), endpoint(&finding.dst));
    let (closer, other) = (side(word(finding, "closer")), side(word(finding, "waiting_for")));
    let age = seconds(finding, "age_ms");
    let pair = match (leg(finding, "other_leg"), finding.fact("other_leg.half_closed")) {
        (Some(leg), Some(Fact::Flag(true))) => format!("；另一侧 {leg} 也是如此"),
        (Some(leg), _) => format!("；另一侧为 {leg}"),
        (None, _) => String::new(),
    };
    match finding.state {
        State::Firing => format!(
            "{src} -> {dst}：{closer}已于 {age} 前关闭，{other}仍未关闭（{closer} FIN_WAIT2，{other} \
             CLOSE_WAIT）{pair}"
        ),
        State::Resolved => {
            let how = match word(finding, "outcome") {
                "closed" => "现已关闭",
                "reset" => "已被复位",
                "replaced" => "四元组已用于新连接",
                "end_of_input" => "直到结束仍是如此",
                _ => "不再跟踪",
            };
            format!("{src} -> {dst}：由{closer}半关闭 {age}；{how}")
        }
    }
}

/// A FIN that nobody acknowledges.
#[must_use]
pub fn fin_unacknowledged(finding: &Finding) -> String {
    let then = match word(finding, "outcome") {
        "pending" => "",
        "acknowledged" => "；最终得到确认",
        "reset" => "；随后被复位",
        "given_up" => "；随后放弃",
        _ => "；直到结束仍是如此",
    };
    format!(
        "{} -> {}：{}的 FIN 在 {} 内重传 {} 次，没有得到确认{then}",
        endpoint(&finding.src),
        endpoint(&finding.dst),
        side(word(finding, "closer")),
        seconds(finding, "age_ms"),
        count(finding, "retransmissions")
    )
}

/// Short connections whose tuples come back fast.
#[must_use]
pub fn churn(finding: &Finding) -> String {
    let service = endpoint(&finding.dst);
    if finding.state == State::Resolved {
        return format!("{service}：短连接、四元组很快回来的情况已经消失");
    }
    format!(
        "{service}：每秒 {} 条连接，寿命中位数 {}，{} % 由{}先关闭，四元组在关闭后 {} 又被使用（中位数）",
        count(finding, "per_s"),
        seconds(finding, "median_life_ms"),
        count(finding, "closes_first_percent"),
        side(word(finding, "closes_first")),
        seconds(finding, "median_reuse_ms")
    )
}
