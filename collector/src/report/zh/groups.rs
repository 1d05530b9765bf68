//! 告警组的语句。 The sentences about groups of findings.

use xdpwatch_core::finding::State;
use xdpwatch_core::group::tally::Example;
use xdpwatch_core::group::{Change, Group};

use crate::report::group::{pool, service};
use crate::report::values::seconds_of;

/// What happened, in one sentence.
#[must_use]
pub fn summary(change: &Change<'_>) -> String {
    let Group { tally, .. } = change.group;
    let (cause, of_cause) = tally.cause();
    let worst = tally.worst.first().map_or(0, |worst| worst.stall_ms);
    format!(
        "{} 共 {} 条，其中 {} 条尚未结束；客户端在 {}，服务为 {}；最多的原因是 {cause}（{of_cause} 条），\
         最长卡住 {}",
        change.group.rule.name,
        tally.count,
        tally.open,
        pool(change.group).unwrap_or_else(|| "多个网段".to_owned()),
        service(change.group).unwrap_or_else(|| "多个服务".to_owned()),
        seconds_of(worst),
    )
}

/// When the first and the last of them began.
#[must_use]
pub fn span(first: &str, last: &str) -> String {
    format!("{first} 至 {last}")
}

/// How one of them stands.
#[must_use]
pub fn example(example: &Example) -> String {
    let state = match example.state {
        State::Firing => "告警中",
        State::Resolved => "已解除",
    };
    let stall = seconds_of(example.stall_ms);
    format!("级别 {}  {}  {state}，历时 {stall}", example.severity, example.cause)
}
