//! 汇总的语句。 The sentences of the closing summary.

use xdpwatch_core::counters::Counters;
use xdpwatch_core::legs::Balancer;
use xdpwatch_core::occupancy::Occupancy;

use crate::health::{Latency, LossWindow};
use crate::report::Occasion;
use crate::report::values::{address, endpoint};
use crate::stats::{FileStats, Live, Stats};

/// What the block is about.
#[must_use]
pub fn title(occasion: Occasion, name: &str, at: Option<&str>) -> String {
    let title = match occasion {
        Occasion::End => "汇总",
        Occasion::Interval | Occasion::Asked => "统计",
    };
    let at = at.map_or_else(String::new, |at| format!("，截至 {at}"));
    format!("{name} {title}{at}")
}

/// What was read of a file.
#[must_use]
pub fn read(file: &FileStats) -> String {
    format!("读取 {} 个报文，{} 字节", file.packets, file.bytes)
}

/// What the XDP program saw.
#[must_use]
pub fn seen(live: &Live) -> String {
    format!("XDP 看到 {} 帧", live.seen)
}

/// What it selected, and what of that came.
#[must_use]
pub fn selected(live: &Live) -> String {
    format!("{} 帧，其中收到 {} 帧", live.selected, live.received)
}

/// What it did not select.
#[must_use]
pub fn dropped(live: &Live) -> String {
    format!("不需要 {} 帧，放行 {} 帧", live.dropped, live.passed)
}

/// What came in by one of several interfaces.
#[must_use]
pub fn interface(name: &str, live: &Live, lost: &str) -> String {
    let Live { seen, selected, received, .. } = live;
    format!("{name}：看到 {seen} 帧，选取 {selected} 帧，收到 {received} 帧；丢失：{lost}")
}

/// The capture on an interface was interrupted, or goes on.
#[must_use]
pub fn interruption(iface: &str, why: &str, gap_ns: Option<u64>) -> String {
    match gap_ns {
        None => format!("接口 {iface}：{why}；恢复抓包之前看不到任何报文"),
        Some(gap_ns) => {
            let s = gap_ns as f64 / 1e9;
            format!("接口 {iface}：{why}，有 {s:.3} 秒看不到报文；涉及这段时间的发现可信度降低")
        }
    }
}

/// Records that came too late to be observed in order.
#[must_use]
pub fn late(live: &Live) -> String {
    format!("{} 条记录到得太晚，未能按序处理：那些时刻的发现不太可靠", live.late)
}

/// The losses of the last seconds.
#[must_use]
pub fn lost_lately(places: &str, loss: &LossWindow) -> String {
    format!(
        "{} s 内 {places}：占全部帧的 {:.1} ‰，占所需帧的 {:.1} ‰",
        loss.window_ms / 1000,
        loss.rate_ppm as f64 / 1000.0,
        loss.evidence_ppm as f64 / 1000.0
    )
}

/// How long alerts took.
#[must_use]
pub fn latency(latency: &Latency) -> String {
    format!(
        "一半不超过 {} us，百分之九十九不超过 {} us，最慢 {} us",
        latency.p50_us, latency.p99_us, latency.max_us
    )
}

/// How connections were met.
#[must_use]
pub fn connections(counters: &Counters) -> String {
    format!("从 SYN 开始 {} 条，中途发现 {} 条", counters.connections, counters.mid_stream)
}

/// What became of reuse.
#[must_use]
pub fn reuse(counters: &Counters) -> String {
    format!(
        "接受 {}，恢复 {}，失败 {}，发起方放弃 {}，超过占用时间 {}，占用方自己复用 {}",
        counters.reuse_accepted,
        counters.reuse_recovered,
        counters.reuse_failed,
        counters.reuse_abandoned,
        counters.reuse_expired,
        counters.self_reuse
    )
}

/// How full the table is.
#[must_use]
pub fn table(occupancy: &Occupancy) -> String {
    format!("共 {} 个位置，已用 {}", occupancy.capacity, occupancy.used())
}

/// A balanced service, where its connections come from and go to.
#[must_use]
pub fn roles(balancer: &Balancer) -> String {
    let pool: Vec<String> = balancer.pool.iter().map(|member| address(&member.end)).collect();
    let servers: Vec<String> =
        balancer.servers.iter().map(|member| endpoint(&member.end)).collect();
    if balancer.joined == 0 {
        return format!("{}（已配置）；没有对上的连接", endpoint(&balancer.vip));
    }
    format!(
        "{}{}，源地址 {}，服务器 {}；对上 {} 条连接，其中 {} 条凭数值对上",
        endpoint(&balancer.vip),
        if balancer.configured { "（已配置）" } else { "" },
        if pool.is_empty() { "为客户端原地址".to_owned() } else { pool.join(", ") },
        servers.join(", "),
        balancer.joined,
        balancer.by_numbers
    )
}

/// How many findings of which severity.
#[must_use]
pub fn findings(stats: &Stats) -> String {
    let findings = &stats.findings;
    format!(
        "按最初的级别：级别 1 有 {} 条，级别 2 有 {} 条，级别 3 有 {} 条；已解除 {} 条；共 {} 组",
        findings.severity_1,
        findings.severity_2,
        findings.severity_3,
        findings.resolved,
        stats.groups.groups
    )
}
