//! The pages: one for each rule and for each cause of `tuple_reuse`, in every language.

use crate::lang::{Lang, Said};

/// What is written about a rule or a cause.
#[derive(Debug)]
pub struct Page {
    /// The rule's or the cause's name.
    pub name: &'static str,
    /// Words that its findings print as their cause, besides its name.
    pub causes: &'static [&'static str],
    /// Markdown: a title, then sections.
    pub text: Said,
}

impl Page {
    /// What its title says behind its name: the rule or the cause in one line.
    #[must_use]
    pub fn title(&self, lang: Lang) -> &'static str {
        let line = self.text.to(lang).lines().next().unwrap_or_default();
        line.split_once(": ").map_or(line, |(_, title)| title)
    }
}

macro_rules! pages {
    ($($name:literal $(as $($cause:literal),+)?;)+) => {
        /// Every page: the rules in order of their numbers, then the causes of `tuple_reuse`.
        pub const PAGES: &[Page] = &[$(Page {
            name: $name,
            causes: &[$($($cause),+)?],
            text: Said {
                en: include_str!(concat!("pages/en/", $name, ".md")),
                zh: include_str!(concat!("pages/zh/", $name, ".md")),
            },
        },)+];
    };
}

pages! {
    "tuple_reuse" as "none", "expired";
    "connect_stalled" as "unanswered";
    "listener_gap" as "not_listening";
    "host_timestamp_refusal" as "tw_recycle";
    "mixed_clocks" as "several_clocks";
    "port_pressure" as "ports_held", "ports_forecast";
    "half_closed";
    "fin_unacknowledged" as "unanswered";
    "churn" as "short_connections";
    "mirror_fault" as "one_direction", "duplicates", "loss", "asymmetric_queues";
    "paws";
    "sequence";
    "in_use";
    "fin_wait2";
    "first_syn_dropped";
    "rate_limited";
    "listener_gone";
    "refused";
    "unknown";
}
