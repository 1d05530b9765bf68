//! `--lang`: the text for people in Chinese, and events that are the same in every language.

mod common;

use std::process::{Command, Output};

use common::{capture, run, stderr, stdout};
use unicode_width::UnicodeWidthStr;
use xdpwatch::report::advice;

fn field_case() -> String {
    capture("server-side.pcap").to_str().unwrap().to_owned()
}

fn chinese(text: &str) -> usize {
    text.chars().filter(|c| ('一'..='鿿').contains(c)).count()
}

/// The lines of the first block whose first line contains `word`.
fn block<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    let lines = text.lines().skip_while(|line| !line.contains(word));
    lines.take_while(|line| !line.is_empty()).collect()
}

#[test]
fn events_are_the_same_bytes_in_every_language() {
    let file = field_case();
    let plain = run(&["-r", &file, "--json"]);
    let chinese_asked = run(&["-r", &file, "--json", "--lang", "zh"]);
    assert_eq!(plain.status.code(), Some(0), "{}", stderr(&plain));
    assert!(!plain.stdout.is_empty());
    assert_eq!(plain.stdout, chinese_asked.stdout);
    assert_eq!(chinese(&stdout(&plain)), 0);
}

#[test]
fn the_field_case_is_told_in_chinese() {
    let output = run(&["-r", &field_case(), "--lang", "zh"]);
    let text = stdout(&output);
    let block = block(&text, "解除  tuple_reuse");
    let all = block.join("\n");
    for said in [
        "10.24.20.249:57011 -> 10.24.20.26:8080 复用了四元组，而 10.24.20.26 仍以 TIME_WAIT 占着",
        "被拒绝，因为时间戳早于上一次的值（PAWS）；失败，31.074 s 未能建立连接",
        "新 ISN 与期望值之差 +352 641 030，时间戳与上一次之差 -1 159 862",
        "静默 30.033 s 后由服务器先关闭",
        "SYN 6 个，应答 6 个（challenge_ack），发起方 RST 0 个；失败，历时 31.074 s",
        "同一地址后面的另一台主机",
        "tcp-timestamp-mode rewrite",
        "服务器 10.24.20.26：keep-alive",
    ] {
        assert!(all.contains(said), "{said} is not in:\n{all}");
    }
    for english in ["because", "closed first", "severity", "balancer", "the "] {
        assert!(!all.contains(english), "{english} is in:\n{all}");
    }
}

#[test]
fn labels_line_up_in_both_languages() {
    for lang in ["en", "zh"] {
        let text = stdout(&run(&["-r", &field_case(), "--lang", lang]));
        for (title, column) in [("tuple_reuse", 11), ("server-side.pcap", 15)] {
            let blocks = if title == "tuple_reuse" {
                block(&text, title)
            } else {
                let last = text.trim_end().rsplit("\n\n").next().unwrap();
                last.lines().collect()
            };
            assert!(blocks.len() > 5, "{text}");
            for line in &blocks[1..] {
                // What comes before the column is the label and spaces; there the rest begins.
                let mut width = 0;
                let rest: String = line
                    .chars()
                    .skip_while(|c| {
                        let before = width < column;
                        width += c.to_string().width();
                        before
                    })
                    .collect();
                let label = &line[..line.len() - rest.len()];
                assert_eq!(label.width(), column, "{line}");
                assert!(label.ends_with(' ') && !rest.is_empty(), "{lang}: {line}");
            }
        }
    }
}

#[test]
fn the_summary_is_told_in_chinese() {
    let text = stdout(&run(&["-r", &field_case(), "--lang", "zh"]));
    let summary = text.trim_end().rsplit("\n\n").next().unwrap();
    assert!(summary.contains("server-side.pcap 汇总，截至 "), "{summary}");
    for label in ["  抓取", "  连接 ", "  复用", "  连接表", "  发现"] {
        assert!(summary.contains(label), "{label} is not in:\n{summary}");
    }
    for english in ["accepted", "packets", "severity", "from their"] {
        assert!(!summary.contains(english), "{english} is in:\n{summary}");
    }
}

#[test]
fn the_environment_chooses_and_the_option_overrules_it() {
    let with = |language: &str, args: &[&str]| -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xdpwatch"));
        command.args(args).env("XDPWATCH_LANG", language).output().unwrap()
    };
    let file = field_case();
    assert!(chinese(&stdout(&with("zh", &["-r", &file]))) > 100);
    assert_eq!(chinese(&stdout(&with("zh", &["-r", &file, "--lang", "en"]))), 0);
    let page = with("zh", &["explain", "paws"]);
    assert!(stdout(&page).contains("## 处理办法"), "{}", stderr(&page));
    let wrong = with("xx", &["-r", &file]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("en, zh"), "{}", stderr(&wrong));
}

#[test]
fn comparisons_are_told_in_chinese() {
    let (first, second) = (capture("f5-side.pcap"), capture("server-side.pcap"));
    let args = ["-r", first.to_str().unwrap(), "-r", second.to_str().unwrap(), "--compare"];
    let text = stdout(&run(&[&args[..], &["--lang", "zh"]].concat()));
    assert!(text.contains("10.24.20.26 的 6 个 ACK 经过了"), "{text}");
    assert!(text.contains("没有到达"), "{text}");
    let events = |more: &[&str]| run(&[&args[..], &["--json"], more].concat()).stdout;
    assert_eq!(events(&[]), events(&["--lang", "zh"]));
}

#[test]
fn every_advice_is_said_in_both_languages() {
    for page in xdpwatch::explain::PAGES {
        for advice in advice::on(page.name) {
            assert!(chinese(advice.why.zh) > 4, "{:?}", advice.why);
            assert_eq!(chinese(advice.why.en) + chinese(advice.setting.en), 0);
            if let Some(when) = advice.when {
                assert!(chinese(when.said.zh) > 2 && chinese(when.said.en) == 0);
            }
        }
    }
}
