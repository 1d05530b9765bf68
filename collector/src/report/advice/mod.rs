//! What to do about a finding: which setting on which component, why it cures this cause, and who
//! says so. One file for each group of rules; the roles of the ends come from the finding's facts.
//!
//! Nothing is advised that the facts contradict: `tcp_tw_reuse` never helps the side that accepts,
//! stripping timestamps hides the cause, `tcp_tw_recycle` breaks clients behind NAT.

mod closing;
mod connecting;
mod feed;
mod reuse;
mod role;
mod shared;
mod when;

use xdpwatch_core::finding::Finding;

pub use role::Role;
pub use when::When;

use crate::lang::{Lang, Said, wrap};

/// One thing to do.
#[derive(Clone, Copy, Debug)]
pub struct Advice {
    /// On what.
    pub on: Role,
    /// Which setting, to what.
    pub setting: Said,
    /// Why that helps.
    pub why: Said,
    /// Who says so: a standard, the kernel's or a vendor's document.
    pub source: &'static str,
    /// What must be so for it to help; nothing if it always does.
    pub when: Option<When>,
}

impl Advice {
    /// The same, if something is so.
    const fn when(self, when: When) -> Self {
        Self { when: Some(when), ..self }
    }

    /// As an item of a page's list.
    #[must_use]
    pub fn item(&self, lang: Lang) -> String {
        let (on, setting, why) =
            (self.on.said().to(lang), self.setting.to(lang), self.why.to(lang));
        let source = self.source;
        let when = self.when.map(|when| when.said.to(lang));
        let text = match (lang, when) {
            (Lang::En, None) => format!("- {on}: {setting}: {why}. ({source})"),
            (Lang::En, Some(when)) => format!("- {on}, {when}: {setting}: {why}. ({source})"),
            (Lang::Zh, None) => format!("- {on}：{setting}：{why}。（{source}）"),
            (Lang::Zh, Some(when)) => format!("- {on}（{when}）：{setting}：{why}。（{source}）"),
        };
        wrap(&text, "  ")
    }
}

/// Everything that is ever advised on this subject (a rule, or a cause of `tuple_reuse`), most
/// effective first.
#[must_use]
pub fn on(subject: &str) -> &'static [Advice] {
    match subject {
        "paws" => reuse::PAWS,
        "sequence" => reuse::SEQUENCE,
        "in_use" => reuse::IN_USE,
        "fin_wait2" => reuse::FIN_WAIT2,
        "first_syn_dropped" => reuse::FIRST_SYN_DROPPED,
        "rate_limited" => reuse::RATE_LIMITED,
        "listener_gone" => reuse::LISTENER_GONE,
        "refused" => reuse::REFUSED,
        "unknown" => reuse::UNKNOWN,
        "connect_stalled" => connecting::CONNECT_STALLED,
        "listener_gap" => connecting::LISTENER_GAP,
        "port_pressure" => connecting::PORT_PRESSURE,
        "half_closed" => closing::HALF_CLOSED,
        "fin_unacknowledged" => closing::FIN_UNACKNOWLEDGED,
        "churn" => closing::CHURN,
        "host_timestamp_refusal" => feed::HOST_TIMESTAMP_REFUSAL,
        "mixed_clocks" => feed::MIXED_CLOCKS,
        "mirror_fault" => feed::MIRROR_FAULT,
        _ => &[],
    }
}

/// What to do about this finding, most effective first.
pub fn advice(finding: &Finding) -> impl Iterator<Item = &'static Advice> + '_ {
    let subject = match finding.rule.name {
        "tuple_reuse" => finding.cause,
        rule => rule,
    };
    let applies = |advice: &&Advice| advice.when.is_none_or(|when| (when.holds)(finding));
    on(subject).iter().filter(applies)
}
