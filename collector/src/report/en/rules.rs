//! The sentences of the rules about services and closes, one small function each.

use xdpwatch_core::finding::{Fact, Finding, State};

use super::seconds;
use crate::report::values::{endpoint, leg, number, word};

/// A listener that lives refuses for a moment.
#[must_use]
pub fn listener_gap(finding: &Finding) -> String {
    let what = match word(finding, "kind") {
        "syn" => "SYNs answered with RST",
        "handshake" => "accepted connections reset before a byte",
        _ => "SYNs answered with RST and accepted connections reset",
    };
    let service = endpoint(&finding.dst);
    let (refused, window) = (count(finding, "refused"), seconds(finding, "window_ms"));
    let then = match word(finding, "outcome") {
        "pending" => "",
        "alive_again" => "; it takes connections again",
        "silent" => "; nobody has asked it since",
        _ => "; still so at the end",
    };
    format!("{service}, a listener that lives, refused {refused} within {window} ({what}){then}")
}

/// One direction is closed, the other stays open.
#[must_use]
pub fn half_closed(finding: &Finding) -> String {
    let (src, dst) = (endpoint(&finding.src), endpoint(&finding.dst));
    let (closer, other) = (word(finding, "closer"), word(finding, "waiting_for"));
    let age = seconds(finding, "age_ms");
    let pair = match (leg(finding, "other_leg"), finding.fact("other_leg.half_closed")) {
        (Some(leg), Some(Fact::Flag(true))) => format!("; so is its other leg {leg}"),
        (Some(leg), _) => format!("; its other leg is {leg}"),
        (None, _) => String::new(),
    };
    match finding.state {
        State::Firing => format!(
            "{src} -> {dst}: the {closer} closed {age} ago, the {other} has not (FIN_WAIT2 at the \
             {closer}, CLOSE_WAIT at the {other}){pair}"
        ),
        State::Resolved => {
            let how = match word(finding, "outcome") {
                "closed" => "it is closed",
                "reset" => "it was reset",
                "replaced" => "its tuple has a new connection",
                "end_of_input" => "still so at the end",
                _ => "it is no longer followed",
            };
            format!("{src} -> {dst}: half-closed by the {closer} for {age}; {how}")
        }
    }
}

/// A FIN that nobody acknowledges.
#[must_use]
pub fn fin_unacknowledged(finding: &Finding) -> String {
    let (src, dst) = (endpoint(&finding.src), endpoint(&finding.dst));
    let then = match word(finding, "outcome") {
        "pending" => "",
        "acknowledged" => "; acknowledged at last",
        "reset" => "; then reset",
        "given_up" => "; then given up",
        _ => "; still so at the end",
    };
    format!(
        "{src} -> {dst}: the FIN of the {} was repeated {} times in {} without an \
         acknowledgment{then}",
        word(finding, "closer"),
        count(finding, "retransmissions"),
        seconds(finding, "age_ms")
    )
}

/// Short connections whose tuples come back fast.
#[must_use]
pub fn churn(finding: &Finding) -> String {
    let service = endpoint(&finding.dst);
    if finding.state == State::Resolved {
        return format!("{service}: short connections on tuples that come back fast: no longer");
    }
    format!(
        "{service}: {} connections per second that live {} (median), {} % closed first by the {}, \
         on tuples that come back {} after their close (median)",
        count(finding, "per_s"),
        seconds(finding, "median_life_ms"),
        count(finding, "closes_first_percent"),
        word(finding, "closes_first"),
        seconds(finding, "median_reuse_ms")
    )
}

/// A count, or that it is not known.
fn count(finding: &Finding, label: &str) -> String {
    number(finding, label)
        .map_or_else(|| "an unknown number of".to_owned(), |number| number.to_string())
}
