//! The sentences in English. Every function here has one of the same name in Chinese.

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
    number(finding, label).map_or_else(|| "unknown".to_owned(), seconds_of)
}
