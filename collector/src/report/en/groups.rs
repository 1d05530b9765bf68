//! The sentences about groups of findings.

use xdpwatch_core::group::tally::Example;
use xdpwatch_core::group::{Change, Group};

use crate::report::group::{pool, service};
use crate::report::json::state_name;
use crate::report::values::seconds_of;

/// What happened, in one sentence.
#[must_use]
pub fn summary(change: &Change<'_>) -> String {
    let Group { tally, .. } = change.group;
    let (cause, of_cause) = tally.cause();
    let worst = tally.worst.first().map_or(0, |worst| worst.stall_ms);
    format!(
        "{} findings of {}, {} still open, of clients in {} with {}; most often {cause} ({of_cause}), \
         worst stall {}",
        tally.count,
        change.group.rule.name,
        tally.open,
        pool(change.group).unwrap_or_else(|| "several networks".to_owned()),
        service(change.group).unwrap_or_else(|| "several services".to_owned()),
        seconds_of(worst),
    )
}

/// When the first and the last of them began.
#[must_use]
pub fn span(first: &str, last: &str) -> String {
    format!("from {first} to {last}")
}

/// How one of them stands.
#[must_use]
pub fn example(example: &Example) -> String {
    format!(
        "severity {}  {}  {} after {}",
        example.severity,
        example.cause,
        state_name(example.state),
        seconds_of(example.stall_ms)
    )
}
