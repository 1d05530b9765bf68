//! Findings and statistics for people: one readable block each, one sentence first.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::{Ipv6Addr, SocketAddr};

use xdpwatch_core::finding::{About, Endpoint, Fact, Finding, State};
use xdpwatch_core::group::Change;

use super::advice::{Advice, advice};
use super::time::rfc3339;
use super::{
    Context, Occasion, Reporter, comparison, group as group_text, rules_text, source_text, summary,
};
use crate::compare::Comparison;
use crate::stats::Stats;

/// Blocks of text.
#[derive(Debug)]
pub struct Text<W> {
    out: W,
}

impl<W: Write> Text<W> {
    /// Text to `out`.
    pub fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Write> Reporter for Text<W> {
    /// People are told of groups.
    fn finding(&mut self, _: &Context, _: &Finding, _: u64, _: i64) -> io::Result<()> {
        Ok(())
    }

    fn group(
        &mut self,
        context: &Context,
        change: &Change<'_>,
        utc_offset_ns: i64,
    ) -> io::Result<()> {
        let Change { group, .. } = change;
        let block = match group.tally.count {
            // A single finding says itself that it is resolved; that it stayed alone is no news.
            0 | 1 if !change.has_news => return Ok(()),
            0 | 1 => block(context, &group.tally.example, group.id, utc_offset_ns),
            _ => group_text::block(context, change, utc_offset_ns),
        };
        self.out.write_all(block.as_bytes())?;
        self.out.flush()
    }

    fn statistics(
        &mut self,
        context: &Context,
        stats: &Stats,
        occasion: Occasion,
    ) -> io::Result<()> {
        self.out.write_all(summary::block(context, stats, occasion).as_bytes())?;
        self.out.flush()
    }

    fn comparison(&mut self, _context: &Context, comparison: &Comparison) -> io::Result<()> {
        self.out.write_all(comparison::block(comparison).as_bytes())?;
        self.out.flush()
    }
}

/// An address as people write it.
#[must_use]
pub fn address(addr: &[u8; 16]) -> String {
    Ipv6Addr::from(*addr).to_canonical().to_string()
}

/// Address and port.
#[must_use]
pub fn endpoint(end: &Endpoint) -> String {
    SocketAddr::new(Ipv6Addr::from(end.addr).to_canonical(), end.port).to_string()
}

/// What happened, in one sentence.
#[must_use]
pub fn summary(finding: &Finding) -> String {
    if finding.rule.name == "tuple_reuse" {
        return reuse_summary(finding);
    }
    rules_text::summary(finding)
        .or_else(|| source_text::summary(finding))
        .unwrap_or_else(|| plain_summary(finding))
}

/// The rule's own line, and the ends that it is about.
fn plain_summary(finding: &Finding) -> String {
    let (src, dst) = (endpoint(&finding.src), endpoint(&finding.dst));
    let about = match finding.about {
        About::Connection => format!("{src} -> {dst}"),
        About::Service => dst,
        About::Pair => format!("{} -> {dst}", address(&finding.src.addr)),
        About::Source => address(&finding.src.addr),
        About::Feed => "the feed".to_owned(),
    };
    format!("{about}: {}", finding.rule.summary)
}

fn reuse_summary(finding: &Finding) -> String {
    let holder = address(&finding.dst.addr);
    let word = |label| match finding.fact(label) {
        Some(Fact::Word(word)) => word,
        _ => "unknown",
    };
    let state = match word("holder.state") {
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
        _ if !because.is_empty() && word("answer") == "none" => {
            format!("no answer is seen here; its TCP refuses, {because}")
        }
        _ if !because.is_empty() => format!("refused, {because}"),
        _ => other_cause(finding.cause).to_owned(),
    };
    let outcome = match word("outcome") {
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

/// The word for a state, to begin a block with.
#[must_use]
pub fn state_word(state: State) -> &'static str {
    match state {
        State::Firing => "FIRING",
        State::Resolved => "RESOLVED",
    }
}

/// The whole block of one finding, alone in its group.
fn block(context: &Context, finding: &Finding, group_id: u64, utc_offset_ns: i64) -> String {
    let at = rfc3339(finding.at_ns.saturating_add_signed(utc_offset_ns));
    let mut text = format!(
        "{at}  {}  {}  severity {}  cause {}  [{}]  id {:016x}  group {group_id:016x}\n",
        state_word(finding.state),
        finding.rule.name,
        finding.severity,
        finding.cause,
        context.name(),
        finding.id,
    );
    details(&mut text, "what", finding, utc_offset_ns);
    text.push('\n');
    text
}

/// The lines about one finding; `label` is the first one's.
pub fn details(text: &mut String, label: &str, finding: &Finding, utc_offset_ns: i64) {
    let mut line = |label: &str, rest: String| {
        let _ = writeln!(text, "  {label:<9}{rest}");
    };
    line(label, summary(finding));
    if finding.rule.name == "tuple_reuse" {
        line("holder", holder(finding, utc_offset_ns));
        line("verdict", verdict(finding));
        line("numbers", numbers(finding));
        line("answers", answers(finding));
        if let Some(sender) = sender(finding) {
            line("sender", sender);
        }
    } else {
        line("facts", plain_facts(finding, utc_offset_ns));
    }
    for (label, key) in [("new leg", "new"), ("prev leg", "previous")] {
        if let Some(leg) = leg(finding, key) {
            line(label, leg);
        }
    }
    line("sure", confidence(finding));
    for (n, advice) in advice(finding).enumerate() {
        let label = if n == 0 { "to do" } else { "" };
        line(label, to_do(finding, advice));
    }
}

/// Every fact by its label.
fn plain_facts(finding: &Finding, utc_offset_ns: i64) -> String {
    let fact = |(label, fact): &(&str, Fact)| {
        let value = match fact {
            Fact::Unknown => "unknown".to_owned(),
            Fact::Flag(flag) => flag.to_string(),
            Fact::Number(number) => number.to_string(),
            Fact::Word(word) => (*word).to_owned(),
            Fact::Address(addr) => address(addr),
            Fact::Id(id) => id.to_string(),
            Fact::Time(at_ns) => rfc3339(at_ns.saturating_add_signed(utc_offset_ns)),
        };
        format!("{label} {value}")
    };
    finding.facts.iter().map(fact).collect::<Vec<_>>().join(", ")
}

fn holder(finding: &Finding, utc_offset_ns: i64) -> String {
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
        let until = rfc3339(until_ns.saturating_add_signed(utc_offset_ns));
        let _ = write!(text, ", until {until}");
    }
    if let Some(Fact::Word(from)) = finding.fact("holder.deadline_from") {
        let _ = write!(text, " (by {from})");
    }
    text
}

fn verdict(finding: &Finding) -> String {
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

fn numbers(finding: &Finding) -> String {
    let signed = |label| match finding.fact(label) {
        Some(Fact::Number(number)) => grouped(number),
        _ => "unknown".to_owned(),
    };
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

fn answers(finding: &Finding) -> String {
    let count = |label| match finding.fact(label) {
        Some(Fact::Number(number)) => number,
        _ => 0,
    };
    format!(
        "{} SYN, {} answered ({}), {} RST by the initiator; {} after {}",
        count("syn_count"),
        count("answers"),
        word(finding, "answer"),
        count("resets_by_initiator"),
        word(finding, "outcome"),
        seconds(finding, "stall_ms")
    )
}

fn sender(finding: &Finding) -> Option<String> {
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

fn leg(finding: &Finding, which: &str) -> Option<String> {
    let at = |name: &str| finding.fact(&format!("legs.{which}.{name}"));
    let end = |ip: &str, port: &str| match (at(ip), at(port)) {
        (Some(Fact::Address(addr)), Some(Fact::Number(port))) => {
            Some(endpoint(&Endpoint { addr, port: u16::try_from(port).ok()? }))
        }
        _ => None,
    };
    Some(format!("{} -> {}", end("src_ip", "src_port")?, end("dest_ip", "dest_port")?))
}

fn to_do(finding: &Finding, advice: &Advice) -> String {
    let on = advice.on.said().en;
    let on = match advice.on.address(finding) {
        Some(addr) => format!("{on} {}", address(&addr)),
        None => on.to_owned(),
    };
    format!("{on}: {} ({})", advice.setting.en, advice.why.en)
}

fn confidence(finding: &Finding) -> String {
    let reasons = finding.confidence.reasons.join(", ");
    let percent = finding.confidence.percent;
    if reasons.is_empty() { format!("{percent} %") } else { format!("{percent} % ({reasons})") }
}

/// The word with this label.
#[must_use]
pub fn word(finding: &Finding, label: &str) -> &'static str {
    match finding.fact(label) {
        Some(Fact::Word(word)) => word,
        _ => "unknown",
    }
}

/// Milliseconds in seconds.
#[must_use]
pub fn seconds_of(ms: i64) -> String {
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}

/// A number of milliseconds in seconds.
pub(super) fn seconds(finding: &Finding, label: &str) -> String {
    match finding.fact(label) {
        Some(Fact::Number(ms)) => seconds_of(ms),
        _ => "unknown".to_owned(),
    }
}

/// A signed number with its digits in groups of three.
fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "+" });
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped() {
        assert_eq!(grouped(352_641_030), "+352 641 030");
        assert_eq!(grouped(-1_159_862), "-1 159 862");
        assert_eq!(grouped(0), "+0");
    }
}
