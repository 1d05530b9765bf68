//! The sentences of the rules about sources, their ports and clocks, and about the feed.

use xdpwatch_core::finding::{Fact, Finding, State};

use crate::report::values::{address, count, endpoint, stood_to_the_end, word};

/// A source's ports towards a service run out.
#[must_use]
pub fn port_pressure(finding: &Finding) -> String {
    let (source, service) = (address(&finding.src.addr), endpoint(&finding.dst));
    let (held, size) = (count(finding, "held"), count(finding, "range.size"));
    if finding.state == State::Resolved {
        let then = match stood_to_the_end(finding) {
            true => "until the end of the input",
            false => "enough are free again",
        };
        return format!("{source} -> {service}: {held} of {size} ports held, {then}");
    }
    let left = match finding.fact("exhausted_in_s") {
        Some(Fact::Number(0)) => "none is left".to_owned(),
        Some(Fact::Number(seconds)) => format!("none will be left in {seconds} s"),
        _ => "the rate does not exhaust them within a minute".to_owned(),
    };
    format!(
        "{source} -> {service}: {held} of {size} ports held ({} %), {} in TIME_WAIT, {} new \
         connections per second: {left}; that rate needs {} source addresses",
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
    let regressions = count(finding, "regressions");
    let clocks = match finding.fact("clocks") {
        Some(Fact::Number(clocks)) => format!("come from {clocks} clocks"),
        _ => "come from more than one clock on the same tuple".to_owned(),
    };
    let then = match finding.state {
        State::Firing => "",
        State::Resolved if stood_to_the_end(finding) => "; until the end of the input",
        State::Resolved => "; not for the last two minutes",
    };
    format!("SYN timestamps of {source} -> {server} {clocks}, {regressions} went back{then}")
}

/// SYNs dropped by the source's last timestamp.
#[must_use]
pub fn host_timestamp_refusal(finding: &Finding) -> String {
    let (source, server) = (address(&finding.src.addr), address(&finding.dst.addr));
    let (dropped, answered) = (count(finding, "dropped"), count(finding, "answered"));
    let then = match finding.state {
        State::Firing => "",
        State::Resolved if stood_to_the_end(finding) => "; until the end of the input",
        State::Resolved => "; none for the last minute",
    };
    format!(
        "{server} drops SYNs of {source} whose timestamp is behind the last one it took from there \
         ({dropped} dropped, {answered} ahead of it answered): tcp_tw_recycle{then}"
    )
}

/// The feed is not sound.
#[must_use]
pub fn mirror_fault(finding: &Finding) -> String {
    let share = count(finding, "share");
    let what = match word(finding, "kind") {
        "one_direction" => "of the connections show one direction only",
        "duplicates" => "of the segments that open or close come twice",
        "loss" if finding.fact("told_by") == Some(Fact::Word("acknowledgments")) => {
            "of the new connections lack data that the other end acknowledged"
        }
        "loss" => "of the needed frames are lost",
        _ => "of the connections are split: their directions reach different workers",
    };
    let sound = match finding.state {
        State::Firing => "is not sound",
        State::Resolved if stood_to_the_end(finding) => "was not sound until the end of the input",
        State::Resolved => "is sound again",
    };
    format!("the mirrored traffic {sound}: {share} % {what}")
}
