//! 简体中文的语句。 The sentences in Simplified Chinese. Every function here has one of the same name in
//! English; protocol states and the event contract's own words stay as they are.

pub mod comparison;
pub mod groups;
pub mod reuse;
pub mod rules;
pub mod sources;
pub mod totals;

use xdpwatch_core::finding::Finding;

use super::values::{number, seconds_of};

/// A number of milliseconds in seconds.
fn seconds(finding: &Finding, label: &str) -> String {
    number(finding, label).map_or_else(|| "未知时间".to_owned(), seconds_of)
}

/// A side of a connection.
fn side(word: &'static str) -> &'static str {
    match word {
        "client" => "客户端",
        "server" => "服务器",
        "both" => "双方",
        _ => "未知的一端",
    }
}
