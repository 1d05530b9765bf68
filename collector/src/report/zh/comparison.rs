//! 两份抓包对比的语句。 The sentences about two captures of the same traffic.

use crate::compare::{Comparison, Explained, Group, Watched};
use crate::report::time::rfc3339;
use crate::report::values::{address, endpoint};

/// What the block is about.
#[must_use]
pub fn title(comparison: &Comparison) -> String {
    let [first, second] = &comparison.names;
    let mut title = format!("{first} 与 {second} 对比");
    if let Some(watched) = &comparison.watched {
        let (from, until) = (rfc3339(watched.from_ns), rfc3339(comparison.at_ns));
        title += &format!("，{from} 至 {until}");
    }
    title
}

/// What the path between two interfaces takes: both have one clock.
#[must_use]
pub fn path(comparison: &Comparison, watched: &Watched) -> String {
    let [first, second] = &comparison.names;
    let ways = watched.later_ns.iter().zip(["客户端", "服务端"]).filter_map(|(ns, who)| {
        let (ns, order) = (*ns.as_ref()?, if ns.is_some_and(|ns| ns < 0) { "早" } else { "晚" });
        let ms = ns.unsigned_abs() as f64 / 1e6;
        Some(format!("{who}发出的报文经过 {second} 比经过 {first} {order} {ms:.3} ms"))
    });
    let ways: Vec<String> = ways.collect();
    if ways.is_empty() {
        return "没有两处都见到的报文".to_owned();
    }
    format!("{}（同一时钟）", ways.join("，"))
}

/// What a capture lost itself, and what is not called lost on the way for that.
#[must_use]
pub fn doubt(name: &str, of_capture: u64, in_doubt: u64) -> String {
    format!(
        "{name} 上的抓包自身丢失 {of_capture} 帧；此时在该处缺少的 {in_doubt} 个报文不算作路径丢失"
    )
}

/// How the two clocks stand to each other.
#[must_use]
pub fn clocks(comparison: &Comparison) -> String {
    let Comparison { names: [first, second], clock, .. } = comparison;
    let (sign, offset) = if clock.offset_ns < 0 { ("慢", "-") } else { ("快", "+") };
    let seconds = clock.offset_ns.unsigned_abs() as f64 / 1e9;
    let path = clock.path_ns.map_or_else(
        || "只见到一个方向，其中包含路径时延".to_owned(),
        |path_ns| format!("两点之间的时延为 {:.3} ms", path_ns as f64 / 1e6),
    );
    format!("{second} 比 {first} {sign} {seconds:.6} s（{offset}）；{path}")
}

/// How fast they part.
#[must_use]
pub fn drift(comparison: &Comparison) -> String {
    match comparison.clock.drift_ppb {
        Some(ppb) => format!("{:+.3} ppm", ppb / 1000.0),
        None => "无法判断：共有的报文少于 64 个，或不足 10 s".to_owned(),
    }
}

/// What both have.
#[must_use]
pub fn matched(comparison: &Comparison) -> String {
    format!("两边都有的报文 {} 个", comparison.counts.matched)
}

/// What was not compared.
#[must_use]
pub fn left_out(comparison: &Comparison) -> String {
    let counts = &comparison.counts;
    let data = "；数据报文：在两点之间被合并或拆分";
    format!(
        "共同时间之外 {}，其地址在一份抓包中完全没有 {}，重复 {}，不作比较 {}，未保留 {}{}",
        counts.outside,
        counts.elsewhere,
        counts.copies,
        counts.not_compared,
        counts.not_kept,
        if comparison.data_left_out { data } else { "" }
    )
}

/// What passed a point and is not in its capture.
#[must_use]
pub fn missed(name: &str, missed: u64) -> String {
    format!("经过却没有抓到 {name} 中的报文 {missed} 个")
}

/// What is not told one by one.
#[must_use]
pub fn more(more: u64) -> String {
    format!("另有 {more} 类")
}

/// "10.0.0.2 发往 10.0.0.1:40000 的 6 个 ACK 经过了 server.pcap，没有到达 f5.pcap".
#[must_use]
pub fn group(comparison: &Comparison, group: &Group) -> String {
    format!(
        "{} 发往 {} 的 {} 个 {} 经过了 {}，没有到达 {}，{} 至 {}",
        endpoint(&group.src),
        endpoint(&group.dst),
        group.count,
        group.kind,
        comparison.names[group.seen_at],
        comparison.names[1 - group.seen_at],
        rfc3339(group.span_ns.0),
        rfc3339(group.span_ns.1)
    )
}

/// What the comparison says of a finding.
#[must_use]
pub fn conclusion(comparison: &Comparison, explained: &Explained) -> String {
    let finding = &explained.finding;
    let lost: Vec<String> = explained
        .lost
        .iter()
        .map(|group| {
            format!(
                "{} 的 {} 个 {} 经过了 {}，没有到达 {}",
                address(&group.src.addr),
                group.count,
                group.kind,
                comparison.names[group.seen_at],
                comparison.names[1 - group.seen_at]
            )
        })
        .collect();
    let lost = if lost.is_empty() {
        "两点之间没有丢失它的报文".to_owned()
    } else {
        lost.join("；")
    };
    format!(
        "{} {} -> {}（{}）：{lost}",
        finding.rule.name,
        endpoint(&finding.src),
        endpoint(&finding.dst),
        comparison.names[explained.point]
    )
}
