//! `xdpwatch explain`: every rule and every cause has a page in both languages, and what is advised
//! stands there beside its source.

mod common;

use std::collections::BTreeSet;

use common::{run_bare, stderr, stdout};
use serde_json::Value;
use unicode_width::UnicodeWidthStr;
use xdpwatch::explain::{self, PAGES};
use xdpwatch::lang::{COLUMNS, Lang};
use xdpwatch::report::{advice, json::SCHEMA};
use xdpwatch_core::detect::RULES;

const LANGS: [Lang; 2] = [Lang::En, Lang::Zh];

/// The sections that every page has, by language.
fn sections(lang: Lang) -> &'static [&'static str] {
    match lang {
        Lang::En => &[
            "## What it means",
            "## How it is decided",
            "## Not alarmed by",
            "## Sources",
            "## What to do",
        ],
        Lang::Zh => &["## 含义", "## 判定方法", "## 不会误报的情形", "## 依据", "## 处理办法"],
    }
}

/// The causes that the schema of events allows.
fn schema_causes() -> Vec<String> {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let causes = schema["$defs"]["cause"]["enum"].as_array().unwrap();
    causes.iter().map(|cause| cause.as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_rule_and_every_cause_has_a_page() {
    for rule in RULES {
        let pages = explain::named(rule.name);
        assert_eq!(pages.len(), 1, "{}", rule.name);
        assert_eq!(pages[0].name, rule.name);
    }
    let causes = schema_causes();
    assert!(causes.len() > 10, "{causes:?}");
    for cause in &causes {
        assert!(!explain::named(cause).is_empty(), "no page for the cause {cause}");
    }
    let names: BTreeSet<_> = PAGES.iter().map(|page| page.name).collect();
    assert_eq!(names.len(), PAGES.len(), "a name stands twice");
}

#[test]
fn every_page_is_whole_in_both_languages() {
    for page in PAGES {
        for lang in LANGS {
            let text = explain::text(page, lang);
            assert!(text.starts_with(&format!("# {}: ", page.name)), "{text}");
            assert!(!page.title(lang).is_empty() && page.title(lang) != page.name);
            for section in sections(lang) {
                let (_, body) = text.split_once(section).unwrap_or_else(|| {
                    panic!("{} has no {section} in {lang:?}", page.name);
                });
                let body = body.trim_start();
                assert!(!body.is_empty() && !body.starts_with('#'), "{}: {section}", page.name);
            }
            for line in text.lines() {
                assert!(line.width() <= COLUMNS, "{}: {line}", page.name);
            }
        }
        let chinese = page.text.zh.chars().filter(|c| ('一'..='鿿').contains(c)).count();
        assert!(chinese > 80, "{} is not in Chinese", page.name);
    }
}

#[test]
fn every_advice_stands_in_its_page_beside_its_source() {
    // Lines are broken for the terminal; compared is what is said.
    let unbroken = |text: &str| text.split_whitespace().collect::<String>();
    for page in PAGES.iter().filter(|page| page.name != "tuple_reuse") {
        let list = advice::on(page.name);
        assert!(!list.is_empty(), "nothing is advised on {}", page.name);
        for (advice, lang) in list.iter().flat_map(|advice| LANGS.map(|lang| (advice, lang))) {
            assert!(advice.source.len() > 7, "{}: {:?}", page.name, advice.setting);
            let text = unbroken(&explain::text(page, lang));
            let item = text.split_once(&unbroken(advice.setting.to(lang)));
            let (_, rest) = item.unwrap_or_else(|| panic!("{}: {:?}", page.name, advice.setting));
            let reason = unbroken(advice.why.to(lang));
            let (before, rest) = rest.split_once(&reason).expect("its reason follows");
            assert!(before.len() <= 3, "{before}");
            let source = unbroken(advice.source);
            assert!(rest.chars().take(3).any(|c| c == '(' || c == '（'), "{rest}");
            let after = rest.find(&source).expect("its source follows");
            assert!(after < 10, "{}: {}", page.name, advice.source);
        }
    }
}

#[test]
fn nothing_is_advised_that_the_facts_contradict() {
    for advice in PAGES.iter().flat_map(|page| advice::on(page.name)) {
        for setting in LANGS.map(|lang| advice.setting.to(lang).to_lowercase()) {
            assert!(!setting.contains("tw_reuse"), "{setting}");
            let recycles = setting.contains("tw_recycle") && !setting.contains("tw_recycle = 0");
            assert!(!recycles, "{setting}");
            for strips in
                ["strip", "tcp_timestamps = 0", "timestamps=disabled", "timestamps off", "剥"]
            {
                assert!(!setting.contains(strips), "{setting}");
            }
            let frees_only_itself = setting.contains("ignore-tcp-msl");
            assert!(!frees_only_itself, "{setting}");
        }
    }
}

#[test]
fn the_command_prints_pages_lists_and_near_names() {
    let output = run_bare(&["explain"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output).lines().count(), PAGES.len());
    let page = stdout(&run_bare(&["explain", "PAWS"]));
    assert!(page.starts_with("# paws: "), "{page}");
    assert!(page.contains("tcp-timestamp-mode rewrite"), "{page}");
    let page = stdout(&run_bare(&["explain", "first-syn-dropped", "--lang", "zh"]));
    assert!(page.contains("## 处理办法") && page.contains("conn_reuse_mode = 0"), "{page}");
    assert_eq!(stdout(&run_bare(&["--lang", "zh", "explain", "first_syn_dropped"])), page);
    assert_eq!(stdout(&run_bare(&["--lang=zh", "explain", "first_syn_dropped"])), page);
    let both = stdout(&run_bare(&["explain", "unanswered"]));
    assert!(both.contains("# connect_stalled: ") && both.contains("# fin_unacknowledged: "));
    let output = run_bare(&["explain", "sequense"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("nearest is sequence"), "{}", stderr(&output));
    let output = run_bare(&["explain", "zzzzzzzzzzzzzzz"]);
    assert!(!stderr(&output).contains("nearest"), "{}", stderr(&output));
}
