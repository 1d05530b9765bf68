//! `tuple_reuse` 的语句。 The sentences of `tuple_reuse`.

use std::fmt::Write as _;

use xdpwatch_core::finding::{Fact, Finding};
use xdpwatch_core::grounds::Evidence;

use super::{seconds, side};
use crate::evidence::store::file_name;
use crate::report::values::{address, count, endpoint, grouped, number, time, word};

/// What happened, in one sentence.
#[must_use]
pub fn summary(finding: &Finding) -> String {
    let holder = address(&finding.dst.addr);
    let state = match word(finding, "holder.state") {
        "unknown" => "从抓包开始之前就一直占着".to_owned(),
        state => format!("仍以 {} 占着", state.to_uppercase()),
    };
    let because = match finding.cause {
        "paws" => "因为时间戳早于上一次的值（PAWS）",
        "sequence" => "因为序列号不在旧连接之后",
        "in_use" => "因为旧连接在那里还没有关闭",
        "fin_wait2" => "因为 FIN_WAIT2 不接受新连接",
        _ => "",
    };
    let why = match finding.cause {
        _ if !because.is_empty() && word(finding, "answer") == "none" => {
            format!("这里没有看到应答；按其 TCP 规则会被拒绝，{because}")
        }
        _ if !because.is_empty() => format!("被拒绝，{because}"),
        _ => other_cause(finding.cause).to_owned(),
    };
    let outcome = match word(finding, "outcome") {
        "pending" => String::new(),
        "failed" => format!("；失败，{} 未能建立连接", seconds(finding, "stall_ms")),
        "recovered" => format!("；{} 后建立连接", seconds(finding, "stall_ms")),
        outcome => format!("；{}", ended(outcome)),
    };
    let src = endpoint(&finding.src);
    let dst = endpoint(&finding.dst);
    format!("SYN {src} -> {dst} 复用了四元组，而 {holder} {state}：{why}{outcome}")
}

fn other_cause(cause: &str) -> &'static str {
    match cause {
        "first_syn_dropped" => "第一次没有应答，重传后被接受",
        "rate_limited" => "不予理会，因为占用方刚发过这样的应答（500 ms 限速）",
        "listener_gone" => "本可接受，却回了旧 ACK：端口上已没有监听者",
        "refused" => "得到 RST",
        "none" => "被接受",
        _ => "没有应答",
    }
}

/// How an attempt ended.
fn ended(outcome: &'static str) -> &'static str {
    match outcome {
        "pending" => "尚无结果",
        "connected" => "已建立连接",
        "recovered" => "随后建立连接",
        "failed" => "失败",
        other => other,
    }
}

/// Who holds the tuple, in which state, since when and until when.
#[must_use]
pub fn holder(finding: &Finding, utc_offset_ns: i64) -> String {
    let mut text = endpoint(&finding.dst);
    if let Some(Fact::Word(state)) = finding.fact("holder.state") {
        let _ = write!(text, " {state}");
    }
    if number(finding, "holder.since_ms").is_some() {
        let _ = write!(text, "，始于 SYN 之前 {}", seconds(finding, "holder.since_ms"));
    }
    if let Some(Fact::Word(closer)) = finding.fact("holder.closed_by") {
        let idle = match number(finding, "holder.idle_before_close_ms") {
            Some(_) => {
                format!("静默 {} 后", seconds(finding, "holder.idle_before_close_ms"))
            }
            None => String::new(),
        };
        let _ = write!(text, "，{idle}由{}先关闭", side(closer));
    }
    if let Some(Fact::Time(until_ns)) = finding.fact("holder.deadline") {
        let _ = write!(text, "，至 {}", time(until_ns, utc_offset_ns));
    }
    if let Some(Fact::Word(from)) = finding.fact("holder.deadline_from") {
        let _ = write!(text, "（{}）", origin(from));
    }
    text
}

/// Where something is known from.
fn origin(word: &'static str) -> &'static str {
    match word {
        "model" => "按模型",
        "evidence" => "按实际证据",
        "config" => "按配置",
        "default" => "默认",
        other => other,
    }
}

/// What the holder's TCP does by its model.
#[must_use]
pub fn verdict(finding: &Finding) -> String {
    let mut text = format!(
        "按 {} 模型（{}）：{}",
        word(finding, "host_model"),
        origin(word(finding, "host_model_from")),
        word(finding, "verdict")
    );
    if let Some(Fact::Word(alone)) = finding.fact("sequence_alone") {
        let alone = if alone == "accept" { "接受" } else { "拒绝" };
        let _ = write!(text, "；只看序列号：{alone}");
    }
    if finding.fact("model_contradicted") == Some(Fact::Flag(true)) {
        text.push_str("；与实际所见矛盾");
    }
    text
}

/// The numbers that decide.
#[must_use]
pub fn numbers(finding: &Finding) -> String {
    let signed = |label| number(finding, label).map_or_else(|| "未知".to_owned(), grouped);
    let from = match finding.fact("delta_from") {
        Some(Fact::Word("answer")) => "（取自应答）",
        _ => "",
    };
    format!(
        "新 ISN 与期望值之差 {}，时间戳与上一次之差 {}{from}",
        signed("isn_delta"),
        signed("ts_delta")
    )
}

/// What was seen.
#[must_use]
pub fn answers(finding: &Finding) -> String {
    format!(
        "SYN {} 个，应答 {} 个（{}），发起方 RST {} 个；{}，历时 {}",
        count(finding, "syn_count"),
        count(finding, "answers"),
        word(finding, "answer"),
        count(finding, "resets_by_initiator"),
        ended(word(finding, "outcome")),
        seconds(finding, "stall_ms")
    )
}

/// Whether another host sends now.
#[must_use]
pub fn sender(finding: &Finding) -> Option<String> {
    let Some(Fact::Flag(different)) = finding.fact("different_sender") else { return None };
    let evidence = match finding.fact("sender_evidence") {
        Some(Fact::Word("tsval")) => "时间戳时钟",
        _ => "序列号时钟",
    };
    Some(if different {
        format!("同一地址后面的另一台主机：{evidence}接不上")
    } else {
        format!("还是原来的主机：{evidence}接得上")
    })
}

/// How sure it is, and what took certainty away.
#[must_use]
pub fn confidence(finding: &Finding) -> String {
    let reasons: Vec<_> = finding.confidence.reasons.iter().map(|reason| doubt(reason)).collect();
    let percent = finding.confidence.percent;
    if reasons.is_empty() {
        format!("{percent} %")
    } else {
        format!("{percent} %（{}）", reasons.join("，"))
    }
}

/// What took certainty away.
fn doubt(reason: &'static str) -> &'static str {
    match reason {
        "answer_not_seen" => "没有看到应答",
        "capture_loss" => "抓包有丢失",
        "capture_gap" => "抓包曾中断",
        "holder_may_be_gone" => "占用方可能早已不在",
        "host_often_contradicts_model" => "该主机常与模型矛盾",
        "mid_stream" => "旧连接没有从头看到",
        "model_contradicted" => "与模型矛盾",
        "no_answer_to_anyone_seen_yet" => "尚未看到它对任何人的应答",
        "numbers_from_answer" => "数值取自应答",
        "one_direction_only" => "只看到一个方向",
        "previous_connection_not_seen" => "没有看到旧连接",
        other => other,
    }
}

/// The evidence file's name, and whether the earlier connection in it was seen.
#[must_use]
pub fn evidence(finding: &Finding, evidence: Evidence) -> String {
    let name = file_name(finding.id);
    match evidence {
        Evidence::Seen => name,
        Evidence::Rebuilt => format!("{name}（旧连接为重建）"),
        Evidence::Part => format!("{name}（仅为部分依据）"),
    }
}
