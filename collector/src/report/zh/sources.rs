//! 源、端口、时钟与镜像类规则的语句。 The sentences of the rules about sources, their ports and clocks, and
//! about the feed.

use xdpwatch_core::finding::{Fact, Finding, State};

use crate::report::values::{address, count, endpoint, stood_to_the_end, word};

/// A source's ports towards a service run out.
#[must_use]
pub fn port_pressure(finding: &Finding) -> String {
    let (source, service) = (address(&finding.src.addr), endpoint(&finding.dst));
    let (held, size) = (count(finding, "held"), count(finding, "range.size"));
    if finding.state == State::Resolved {
        let then = match stood_to_the_end(finding) {
            true => "直到输入结束",
            false => "已有足够的空闲端口",
        };
        return format!("{source} -> {service}：{size} 个端口占用 {held} 个，{then}");
    }
    let left = match finding.fact("exhausted_in_s") {
        Some(Fact::Number(0)) => "已经用尽".to_owned(),
        Some(Fact::Number(seconds)) => format!("{seconds} s 后用尽"),
        _ => "按此速率一分钟内不会用尽".to_owned(),
    };
    format!(
        "{source} -> {service}：{size} 个端口占用 {held} 个（{} %），其中 TIME_WAIT {} 个，每秒新建 {} \
         条：{left}；此速率需要 {} 个源地址",
        count(finding, "percent"),
        count(finding, "time_wait"),
        count(finding, "arrivals_per_s"),
        count(finding, "sources_needed")
    )
}

/// One source address, several clocks.
#[must_use]
pub fn mixed_clocks(finding: &Finding) -> String {
    let (source, server) = (address(&finding.src.addr), address(&finding.dst.addr));
    let clocks = match finding.fact("clocks") {
        Some(Fact::Number(clocks)) => format!("来自 {clocks} 个时钟"),
        _ => "在同一个四元组上来自不止一个时钟".to_owned(),
    };
    let then = match finding.state {
        State::Firing => "",
        State::Resolved if stood_to_the_end(finding) => "；直到输入结束",
        State::Resolved => "；最近两分钟没有再出现",
    };
    let regressions = count(finding, "regressions");
    format!("{source} -> {server} 的 SYN 时间戳{clocks}，倒退 {regressions} 次{then}")
}

/// SYNs dropped by the source's last timestamp.
#[must_use]
pub fn host_timestamp_refusal(finding: &Finding) -> String {
    let (source, server) = (address(&finding.src.addr), address(&finding.dst.addr));
    let (dropped, answered) = (count(finding, "dropped"), count(finding, "answered"));
    let then = match finding.state {
        State::Firing => "",
        State::Resolved if stood_to_the_end(finding) => "；直到输入结束",
        State::Resolved => "；最近一分钟没有再出现",
    };
    format!(
        "{server} 丢弃了来自 {source}、时间戳早于其上次接受值的 SYN（丢弃 {dropped} 个，领先的 {answered} \
         个得到应答）：tcp_tw_recycle{then}"
    )
}

/// The feed is not sound.
#[must_use]
pub fn mirror_fault(finding: &Finding) -> String {
    let share = count(finding, "share");
    let what = match word(finding, "kind") {
        "one_direction" => format!("{share} % 的连接只见到一个方向"),
        "duplicates" => format!("{share} % 的建立和关闭报文重复"),
        "loss" => format!("{share} % 的所需报文丢失"),
        _ => format!("{share} % 的连接被拆开：两个方向到了不同的 worker"),
    };
    match finding.state {
        State::Firing => format!("镜像流量不正常：{what}"),
        State::Resolved if stood_to_the_end(finding) => {
            format!("镜像流量直到输入结束都不正常：{what}")
        }
        State::Resolved => format!("镜像流量恢复正常：{what}"),
    }
}
