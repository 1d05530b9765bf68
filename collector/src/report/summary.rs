//! The closing summary: captured, selected, lost by place, connections, reuse by outcome.

use std::fmt::Write as _;

use xdpwatch_core::census::{Row, STATES};

use super::time::rfc3339;
use super::values::{address, endpoint};
use super::{Context, Occasion, say};
use crate::health::LossWindow;
use crate::lang::{Lang, Said, pad, said};
use crate::stats::{FileStats, Live, Stats};

const CAPTURED: Said = said("captured", "抓取");

/// The block for one vantage point.
#[must_use]
pub fn block(context: &Context, stats: &Stats, occasion: Occasion, lang: Lang) -> String {
    let at = if stats.at_ns > 0 { Some(rfc3339(stats.at_ns)) } else { None };
    let mut text = say!(lang, totals::title(occasion, context.name(), at.as_deref()));
    text.push('\n');
    let mut line = |label: Said, rest: String| {
        let _ = writeln!(text, "  {}{rest}", pad(label.to(lang), 13));
    };
    frames(stats, lang, &mut line);
    connections(stats, lang, &mut line);
    for (n, row) in stats.census.services.iter().enumerate() {
        line(first(n, said("services", "服务")), standing(row, endpoint(&row.end), lang));
    }
    for (n, row) in stats.census.sources.iter().enumerate() {
        line(first(n, said("sources", "源")), standing(row, address(&row.end.addr), lang));
    }
    for balancer in &stats.balancers {
        line(said("balancer", "负载均衡"), say!(lang, totals::roles(balancer)));
    }
    line(said("findings", "发现"), say!(lang, totals::findings(stats)));
    if let Some(webhooks) = &stats.webhooks {
        let counts = [
            (said("delivered so far", "已送达"), webhooks.delivered),
            (said("waiting", "等待中"), webhooks.waiting),
            (said("tries failed", "尝试失败"), webhooks.retried),
            (said("refused for good", "被永久拒绝"), webhooks.dead),
            (said("given up, spool full", "因暂存已满而放弃"), webhooks.evicted),
            (said("lost, spool unwritable", "因暂存不可写而丢失"), webhooks.unspooled),
            (said("lost, queue full", "因队列已满而丢失"), webhooks.lost),
        ];
        line(said("webhooks", "webhook"), or_none(nonzero(counts, lang), lang));
    }
    text.push('\n');
    text
}

/// What was captured, and what of it was lost.
fn frames(stats: &Stats, lang: Lang, line: &mut impl FnMut(Said, String)) {
    if let Some(file) = &stats.file {
        line(CAPTURED, captured(file, lang));
    }
    if let Some(live) = &stats.live {
        line(CAPTURED, say!(lang, totals::seen(live)));
        line(said("selected", "选取"), say!(lang, totals::selected(live)));
        line(said("dropped", "舍弃"), say!(lang, totals::dropped(live)));
        line(said("lost", "丢失"), lost(live, lang));
        if live.late > 0 {
            line(said("out of order", "乱序"), say!(lang, totals::late(live)));
        }
    }
    if stats.interfaces.len() > 1 {
        for (n, (name, live)) in stats.interfaces.iter().enumerate() {
            let what = say!(lang, totals::interface(name, live, &lost(live, lang)));
            line(first(n, said("interfaces", "接口")), what);
        }
    }
    if let Some(loss) = stats.loss.filter(|loss| loss.lost.total() > 0) {
        line(said("lost lately", "近期丢失"), lost_lately(&loss, lang));
    }
    if let Some(latency) = stats.latency.filter(|latency| latency.alerts > 0) {
        line(said("alerts after", "告警延迟"), say!(lang, totals::latency(&latency)));
    }
    let skipped = nonzero(stats.skipped.iter().map(named), lang);
    if !skipped.is_empty() {
        line(said("skipped", "跳过"), skipped);
    }
}

/// What the detector made of it.
fn connections(stats: &Stats, lang: Lang, line: &mut impl FnMut(Said, String)) {
    let counters = &stats.detector.counters;
    line(said("records", "记录"), counters.records.to_string());
    line(said("connections", "连接"), say!(lang, totals::connections(counters)));
    line(said("reuse", "复用"), say!(lang, totals::reuse(counters)));
    let occupancy = &stats.detector.occupancy;
    let mut states = Vec::new();
    occupancy.each(|name, count| {
        states.push((name, if name == "capacity" { 0 } else { count }));
    });
    line(said("table", "连接表"), say!(lang, totals::table(occupancy)));
    line(said("states", "状态"), or_none(nonzero(states.iter().map(named), lang), lang));
    let losses = [
        (said("refused", "表满拒绝"), counters.table_refused),
        (said("closed given up early", "已关闭而提前放弃"), counters.evicted_closed),
        (said("handshakes given up early", "握手中提前放弃"), counters.evicted_embryonic),
        (said("contests not followed", "未能跟踪的冲突"), counters.contests_full),
        (said("model contradicted", "与模型矛盾"), counters.model_contradicted),
        (said("folded into the other leg's", "并入另一侧的告警"), stats.aggregate.folded),
        (
            said("alerts not remembered for folding", "未能记住以供合并的告警"),
            stats.aggregate.standing_full,
        ),
        (
            said("hosts' hold times not remembered", "未能记住的主机占用时间"),
            stats.aggregate.hosts_full,
        ),
        (
            said("cases that rules could not follow", "规则未能跟踪的情形"),
            stats.aggregate.rules_full,
        ),
        (said("findings grouped more coarsely", "归组较粗的发现"), stats.groups.overflow),
        (
            said("findings whose end could not be awaited", "未能等到结果的发现"),
            stats.groups.members_full,
        ),
        (said("steps not in the census", "未计入统计的步骤"), stats.aggregate.census_full),
    ];
    let losses = nonzero(losses, lang);
    if !losses.is_empty() {
        line(said("noted", "注意"), losses);
    }
}

/// The label for the first of several lines.
fn first(n: usize, label: Said) -> Said {
    if n == 0 { label } else { said("", "") }
}

/// A counter with a name of its own, the same in every language.
fn named(&(name, count): &(&'static str, u64)) -> (Said, u64) {
    (said(name, name), count)
}

/// How many of whose connections stand where, as `netstat | sort | uniq -c` would say at both ends.
fn standing(row: &Row, name: String, lang: Lang) -> String {
    let states: Vec<_> = STATES.into_iter().zip(row.states).collect();
    format!("{:>9}  {name}: {}", row.total(), nonzero(states.iter().map(named), lang))
}

fn captured(file: &FileStats, lang: Lang) -> String {
    let notes = [
        (said("cut by the snap length", "被截断"), file.cut_packets),
        (said("of unknown link types", "链路类型未知"), file.unknown_link),
        (said("without a time", "没有时间"), file.timeless),
        (said("out of order", "时间顺序颠倒"), file.clock_backwards),
        (said("with a damaged time", "时间损坏"), file.damaged_times),
    ];
    let packets = say!(lang, totals::read(file));
    match (nonzero(notes, lang), lang) {
        (notes, _) if notes.is_empty() => packets,
        (notes, Lang::En) => format!("{packets}; {notes}"),
        (notes, Lang::Zh) => format!("{packets}；{notes}"),
    }
}

/// Where frames and findings were lost, by place.
fn lost(live: &Live, lang: Lang) -> String {
    let places = [
        (said("NIC", "网卡"), live.nic_lost),
        (said("not handed over by XDP", "XDP 未能交付"), live.not_handed_over),
        (said("AF_XDP ring full", "AF_XDP 环已满"), live.rx_ring_full),
        (said("AF_XDP no buffer", "AF_XDP 无缓冲"), live.rx_dropped),
        (said("redirect", "重定向"), live.redirect_errors),
        (said("bad heads", "头部损坏"), live.bad_heads),
        (said("hand-off ring", "移交环"), live.handoff_lost),
        (said("aggregator queue", "汇总队列"), live.aggregator_lost),
        (said("reporter queue", "报告队列"), live.reporter_lost),
        (said("writer queue", "写入队列"), live.writer_lost),
    ];
    or_none(nonzero(places, lang), lang)
}

/// What was lost in the last seconds, in thousandths of what came and of what was needed.
fn lost_lately(loss: &LossWindow, lang: Lang) -> String {
    let mut places = Vec::new();
    loss.lost.each(|name, count| places.push((name, count)));
    let places = nonzero(places.iter().map(named), lang);
    say!(lang, totals::lost_lately(&places, loss))
}

fn nonzero(counts: impl IntoIterator<Item = (Said, u64)>, lang: Lang) -> String {
    let counts = counts.into_iter().filter(|(_, count)| *count > 0);
    let parts: Vec<String> = counts
        .map(|(name, count)| match lang {
            Lang::En => format!("{count} {}", name.en),
            Lang::Zh => format!("{} {count}", name.zh),
        })
        .collect();
    parts.join(said(", ", "，").to(lang))
}

fn or_none(text: String, lang: Lang) -> String {
    if text.is_empty() { said("nothing", "无").to(lang).to_owned() } else { text }
}
