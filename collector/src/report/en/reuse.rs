//! The sentences of `tuple_reuse`.

use std::fmt::Write as _;

use xdpwatch_core::finding::{Fact, Finding};
use xdpwatch_core::grounds::Evidence;

use super::seconds;
use crate::evidence::store::file_name;
use crate::report::values::{address, count, endpoint, grouped, number, time, word};

/// What happened, in one sentence.
#[must_use]
pub fn summary(finding: &Finding) -> String {
    let holder = address(&finding.dst.addr);
    let state = match word(finding, "holder.state") {
        "unknown" => "still holds from before the capture began".to_owned(),
        state => format!("still holds in {}", state.to_uppercase()),
    };
    let because = match finding.cause {
        "paws" => "because the timestamp is older than the last one (PAWS)",
        "sequence" => "because the sequence number is not after the old connection's",
        "in_use" => "because the old connection is still in use there",
        "fin_wait2" => "because FIN_WAIT2 takes no new connection",
        _ => "",
    };
    let why = match finding.cause {
        // The refusal itself was lost before it came here, so it is a verdict, not a sight.
        _ if !because.is_empty() && word(finding, "answer") == "none" => {
            format!("no answer is seen here; its TCP refuses, {because}")
        }
        _ if !because.is_empty() => format!("refused, {because}"),
        _ => other_cause(finding.cause).to_owned(),
    };
    let outcome = match word(finding, "outcome") {
        "pending" => String::new(),
        "failed" => format!("; failed, {} without a connection", seconds(finding, "stall_ms")),
        "recovered" => format!("; connected after {}", seconds(finding, "stall_ms")),
        outcome => format!("; {outcome}"),
    };
    let src = endpoint(&finding.src);
    let dst = endpoint(&finding.dst);
    format!("SYN {src} -> {dst} reuses a tuple that {holder} {state}: {why}{outcome}")
}

fn other_cause(cause: &str) -> &'static str {
    match cause {
        "first_syn_dropped" => "left unanswered the first time and accepted when repeated",
        "rate_limited" => "ignored, because the holder had just sent such an answer (500 ms limit)",
        "listener_gone" => "acceptable, but answered with the old ACK: nobody listens any more",
        "refused" => "answered with RST",
        "none" => "accepted",
        _ => "not answered",
    }
}

/// Who holds the tuple, in which state, since when and until when.
#[must_use]
pub fn holder(finding: &Finding, utc_offset_ns: i64) -> String {
    let mut text = endpoint(&finding.dst);
    if let Some(Fact::Word(state)) = finding.fact("holder.state") {
        let _ = write!(text, " {state}");
    }
    if let Some(Fact::Number(_)) = finding.fact("holder.since_ms") {
        let _ = write!(text, " since {} before the SYN", seconds(finding, "holder.since_ms"));
    }
    if let Some(Fact::Word(closer)) = finding.fact("holder.closed_by") {
        let _ = write!(text, ", closed first by the {closer}");
    }
    if let Some(Fact::Number(_)) = finding.fact("holder.idle_before_close_ms") {
        let _ =
            write!(text, " after {} of silence", seconds(finding, "holder.idle_before_close_ms"));
    }
    if let Some(Fact::Time(until_ns)) = finding.fact("holder.deadline") {
        let _ = write!(text, ", until {}", time(until_ns, utc_offset_ns));
    }
    if let Some(Fact::Word(from)) = finding.fact("holder.deadline_from") {
        let _ = write!(text, " (by {from})");
    }
    text
}

/// What the holder's TCP does by its model.
#[must_use]
pub fn verdict(finding: &Finding) -> String {
    let mut text = format!(
        "{} by the {} model ({})",
        word(finding, "verdict"),
        word(finding, "host_model"),
        word(finding, "host_model_from")
    );
    if let Some(Fact::Word(alone)) = finding.fact("sequence_alone") {
        let _ = write!(text, "; the sequence number alone: {alone}");
    }
    if finding.fact("model_contradicted") == Some(Fact::Flag(true)) {
        text.push_str("; CONTRADICTED by what was seen");
    }
    text
}

/// The numbers that decide.
#[must_use]
pub fn numbers(finding: &Finding) -> String {
    let signed = |label| number(finding, label).map_or_else(|| "unknown".to_owned(), grouped);
    let from = match finding.fact("delta_from") {
        Some(Fact::Word("answer")) => " (from the answer)",
        _ => "",
    };
    format!(
        "new ISN {} against what is expected, timestamp {} against the last one{from}",
        signed("isn_delta"),
        signed("ts_delta")
    )
}

/// What was seen.
#[must_use]
pub fn answers(finding: &Finding) -> String {
    format!(
        "{} SYN, {} answered ({}), {} RST by the initiator; {} after {}",
        count(finding, "syn_count"),
        count(finding, "answers"),
        word(finding, "answer"),
        count(finding, "resets_by_initiator"),
        word(finding, "outcome"),
        seconds(finding, "stall_ms")
    )
}

/// Whether another host sends now.
#[must_use]
pub fn sender(finding: &Finding) -> Option<String> {
    let Some(Fact::Flag(different)) = finding.fact("different_sender") else { return None };
    let evidence = match finding.fact("sender_evidence") {
        Some(Fact::Word("tsval")) => "its timestamp clock",
        _ => "its sequence number clock",
    };
    Some(if different {
        format!("another host behind the same address: {evidence} does not go on")
    } else {
        format!("the same host as before: {evidence} goes on")
    })
}

/// How sure it is, and what took certainty away.
#[must_use]
pub fn confidence(finding: &Finding) -> String {
    let reasons = finding.confidence.reasons.join(", ");
    let percent = finding.confidence.percent;
    if reasons.is_empty() { format!("{percent} %") } else { format!("{percent} % ({reasons})") }
}

/// The evidence file's name, and whether the earlier connection in it was seen.
#[must_use]
pub fn evidence(finding: &Finding, evidence: Evidence) -> String {
    let name = file_name(finding.id);
    match evidence {
        Evidence::Seen => name,
        Evidence::Rebuilt => format!("{name} (the earlier connection is rebuilt)"),
        Evidence::Part => format!("{name} (a part of what it rests on)"),
    }
}
