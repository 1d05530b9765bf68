//! Slack's incoming webhooks, in Block Kit.

use serde_json::{Value, json};

use super::chat::{facts, summary, title};
use crate::webhook::message::Message;

/// A header, the sentence, the facts.
pub fn body(message: &Message) -> Value {
    let fields: Vec<Value> = facts(message)
        .iter()
        .map(|(name, value)| json!({ "type": "mrkdwn", "text": format!("*{name}*\n{}", escaped(value)) }))
        .collect();
    json!({
        "text": format!("{}: {}", title(message), escaped(summary(message))),
        "blocks": [
            { "type": "header", "text": { "type": "plain_text", "text": title(message) } },
            { "type": "section", "text": { "type": "mrkdwn", "text": escaped(summary(message)) } },
            { "type": "section", "fields": fields },
        ],
    })
}

/// The three characters that Slack's markup takes for its own.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
