//! What chat rooms are told, in whichever markup: a title, the sentence, a few facts, the advice.

use serde_json::Value;

use super::Verdict;
use crate::webhook::message::Message;

/// The first line.
pub fn title(message: &Message) -> String {
    format!(
        "{} {} severity {}",
        message.state().to_uppercase(),
        message.text(&["alert", "signature"]),
        message.severity()
    )
}

/// The sentence.
pub fn summary(message: &Message) -> &str {
    message.text(&["alert", "summary"])
}

/// Name and value of what is worth a line.
pub fn facts(message: &Message) -> Vec<(&'static str, String)> {
    let group = |key| message.text(&["alert", "group", key]).to_owned();
    let number = |key| message.number(&["alert", "group", key]).to_string();
    let mut facts = vec![
        ("service", group("service")),
        ("sources", group("source_pool")),
        ("cause", message.text(&["alert", "category"]).to_owned()),
        ("findings", format!("{}, {} open", number("count"), number("open"))),
        ("first", group("first")),
        ("sensor", message.text(&["sensor"]).to_owned()),
    ];
    let advice = message.event.get("alert").and_then(|alert| alert["advice"].get(0));
    if let Some(advice) = advice
        && let (Some(component), Some(setting)) =
            (advice["component"].as_str(), advice["setting"].as_str())
    {
        facts.push(("to do", format!("{component}: {setting}")));
    }
    facts.retain(|(_, value)| !value.is_empty());
    facts
}

/// Title, sentence and facts in the Markdown that most rooms take.
pub fn markdown(message: &Message) -> String {
    let mut text = format!("**{}**\n\n{}\n", title(message), summary(message));
    for (name, value) in facts(message) {
        text += &format!("\n- {name}: {value}");
    }
    text
}

/// These services answer 200 to everything and put the outcome into a number: 0 is good, `later` are
/// the ones for "too often" and "busy". An answer without the number is no refusal.
pub fn verdict(body: &str, number: &str, reason: &str, later: &[i64]) -> Verdict {
    let answer: Value = serde_json::from_str(body).unwrap_or_default();
    match answer[number].as_i64() {
        None | Some(0) => Verdict::Accepted,
        Some(code) => {
            let said = format!("{number} {code}: {}", answer[reason].as_str().unwrap_or_default());
            if later.contains(&code) { Verdict::Later(said) } else { Verdict::Refused(said) }
        }
    }
}
