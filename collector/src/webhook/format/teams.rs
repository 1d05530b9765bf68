//! Microsoft Teams: an adaptive card, as workflows ("when a webhook request is received") take it.

use serde_json::{Value, json};

use super::chat::{facts, summary, title};
use crate::webhook::message::Message;

/// A card with title, sentence and facts.
pub fn body(message: &Message) -> Value {
    let color = match (message.resolved, message.severity()) {
        (true, _) => "Good",
        (false, 1) => "Attention",
        (false, _) => "Warning",
    };
    let facts: Vec<Value> = facts(message)
        .into_iter()
        .map(|(name, value)| json!({ "title": name, "value": value }))
        .collect();
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": [
                    { "type": "TextBlock", "text": title(message), "weight": "Bolder",
                      "size": "Medium", "color": color },
                    { "type": "TextBlock", "text": summary(message), "wrap": true },
                    { "type": "FactSet", "facts": facts },
                ],
            },
        }],
    })
}
