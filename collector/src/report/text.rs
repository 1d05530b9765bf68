//! Findings and statistics for people: one readable block each, one sentence first.

use std::fmt::Write as _;
use std::io::{self, Write};

use xdpwatch_core::finding::{About, Fact, Finding, State};
use xdpwatch_core::group::Change;

use super::advice::{Advice, advice};
use super::values::{address, endpoint, leg, time};
use super::{
    Context, Occasion, Reporter, comparison, group as group_text, interruption, say, summary,
};
use crate::compare::Comparison;
use crate::explain;
use crate::interruption::Interruption;
use crate::lang::{Lang, Said, pad, said};
use crate::plain::plain;
use crate::stats::Stats;

pub(super) const WHAT: Said = said("what", "概要");
pub(super) const SEVERITY: Said = said("severity", "级别");
pub(super) const CAUSE: Said = said("cause", "原因");
pub(super) const GROUP: Said = said("group", "组");

/// Blocks of text.
#[derive(Debug)]
pub struct Text<W> {
    out: W,
    lang: Lang,
}

impl<W: Write> Text<W> {
    /// Text to `out`, in this language.
    pub fn new(out: W, lang: Lang) -> Self {
        Self { out, lang }
    }

    /// Files have names that others gave them.
    fn write(&mut self, block: &str) -> io::Result<()> {
        self.out.write_all(plain(block).as_bytes())?;
        self.out.flush()
    }
}

/// People are told of groups, not of every finding.
impl<W: Write> Reporter for Text<W> {
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
            0 | 1 => block(context, &group.tally.example, group.id, utc_offset_ns, self.lang),
            _ => group_text::block(context, change, utc_offset_ns, self.lang),
        };
        self.write(&block)
    }

    fn statistics(
        &mut self,
        context: &Context,
        stats: Stats,
        occasion: Occasion,
    ) -> io::Result<()> {
        self.write(&summary::block(context, &stats, occasion, self.lang))
    }

    fn interruption(
        &mut self,
        context: &Context,
        interruption: &Interruption,
        utc_offset_ns: i64,
    ) -> io::Result<()> {
        let block = interruption::block(context, interruption, utc_offset_ns, self.lang);
        self.write(&block)
    }

    fn comparison(&mut self, _context: &Context, comparison: &Comparison) -> io::Result<()> {
        self.write(&comparison::block(comparison, self.lang))
    }
}

/// What happened, in one sentence.
#[must_use]
pub fn summary(finding: &Finding, lang: Lang) -> String {
    match finding.rule.name {
        "tuple_reuse" => say!(lang, reuse::summary(finding)),
        "listener_gap" => say!(lang, rules::listener_gap(finding)),
        "half_closed" => say!(lang, rules::half_closed(finding)),
        "fin_unacknowledged" => say!(lang, rules::fin_unacknowledged(finding)),
        "churn" => say!(lang, rules::churn(finding)),
        "port_pressure" => say!(lang, sources::port_pressure(finding)),
        "mixed_clocks" => say!(lang, sources::mixed_clocks(finding)),
        "host_timestamp_refusal" => say!(lang, sources::host_timestamp_refusal(finding)),
        "mirror_fault" => say!(lang, sources::mirror_fault(finding)),
        _ => plain_summary(finding, lang),
    }
}

/// The rule's own line, and the ends that it is about.
fn plain_summary(finding: &Finding, lang: Lang) -> String {
    let (src, dst) = (endpoint(&finding.src), endpoint(&finding.dst));
    let about = match finding.about {
        About::Connection => format!("{src} -> {dst}"),
        About::Service => dst,
        About::Pair => format!("{} -> {dst}", address(&finding.src.addr)),
        About::Source => address(&finding.src.addr),
        About::Feed => said("the feed", "镜像流量").to(lang).to_owned(),
    };
    let rule = match lang {
        Lang::En => finding.rule.summary,
        Lang::Zh => explain::title(finding.rule, lang),
    };
    format!("{about}: {rule}")
}

/// The word for a state, to begin a block with.
#[must_use]
pub fn state_word(state: State, lang: Lang) -> &'static str {
    match state {
        State::Firing => said("FIRING", "告警").to(lang),
        State::Resolved => said("RESOLVED", "解除").to(lang),
    }
}

/// A line of a block: a label in its column, and the rest.
pub fn line(text: &mut String, label: &str, rest: &str) {
    let _ = writeln!(text, "  {}{rest}", pad(label, 9));
}

/// The whole block of one finding, alone in its group.
fn block(
    context: &Context,
    finding: &Finding,
    group_id: u64,
    utc_offset_ns: i64,
    lang: Lang,
) -> String {
    let mut text = format!(
        "{}  {}  {}  {} {}  {} {}  [{}]  id {:016x}  {} {group_id:016x}\n",
        time(finding.at_ns, utc_offset_ns),
        state_word(finding.state, lang),
        finding.rule.name,
        SEVERITY.to(lang),
        finding.severity,
        CAUSE.to(lang),
        finding.cause,
        context.name(),
        finding.id,
        GROUP.to(lang),
    );
    details(&mut text, WHAT, finding, utc_offset_ns, lang);
    text.push('\n');
    text
}

/// The lines about one finding; `label` is the first one's.
pub fn details(text: &mut String, label: Said, finding: &Finding, utc_offset_ns: i64, lang: Lang) {
    let mut line = |label: Said, rest: String| line(text, label.to(lang), &rest);
    line(label, summary(finding, lang));
    if finding.rule.name == "tuple_reuse" {
        line(said("holder", "占用方"), say!(lang, reuse::holder(finding, utc_offset_ns)));
        line(said("verdict", "判定"), say!(lang, reuse::verdict(finding)));
        line(said("numbers", "数值"), say!(lang, reuse::numbers(finding)));
        line(said("answers", "应答"), say!(lang, reuse::answers(finding)));
        if let Some(sender) = say!(lang, reuse::sender(finding)) {
            line(said("sender", "发送方"), sender);
        }
    } else {
        line(said("facts", "数据"), facts(finding, utc_offset_ns));
    }
    if let Some(leg) = leg(finding, "legs.new") {
        line(said("new leg", "新的另侧"), leg);
    }
    if let Some(leg) = leg(finding, "legs.previous") {
        line(said("prev leg", "旧的另侧"), leg);
    }
    line(said("sure", "可信度"), say!(lang, reuse::confidence(finding)));
    if let Some(evidence) = finding.evidence {
        line(said("evidence", "证据"), say!(lang, reuse::evidence(finding, evidence)));
    }
    for (n, advice) in advice(finding).enumerate() {
        let label = if n == 0 { said("to do", "建议") } else { said("", "") };
        line(label, to_do(finding, advice, lang));
    }
}

/// Every fact by its label; these are the words of the event contract.
fn facts(finding: &Finding, utc_offset_ns: i64) -> String {
    let fact = |(label, fact): &(&str, Fact)| {
        let value = match fact {
            Fact::Unknown => "unknown".to_owned(),
            Fact::Flag(flag) => flag.to_string(),
            Fact::Number(number) => number.to_string(),
            Fact::Word(word) => (*word).to_owned(),
            Fact::Address(addr) => address(addr),
            Fact::Id(id) => id.to_string(),
            Fact::Time(at_ns) => time(*at_ns, utc_offset_ns),
        };
        format!("{label} {value}")
    };
    finding.facts.iter().map(fact).collect::<Vec<_>>().join(", ")
}

fn to_do(finding: &Finding, advice: &Advice, lang: Lang) -> String {
    let on = advice.on.said().to(lang);
    let on = match advice.on.address(finding) {
        Some(addr) => format!("{on} {}", address(&addr)),
        None => on.to_owned(),
    };
    let (setting, why) = (advice.setting.to(lang), advice.why.to(lang));
    match lang {
        Lang::En => format!("{on}: {setting} ({why})"),
        Lang::Zh => format!("{on}：{setting}（{why}）"),
    }
}
