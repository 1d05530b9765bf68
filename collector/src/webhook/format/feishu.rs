//! Feishu (Lark) bots: an interactive card; with a secret, time and sign in the body.

use serde_json::{Value, json};

use super::chat::{markdown, title};
use crate::webhook::config::Hook;
use crate::webhook::message::Message;
use crate::webhook::sign;

/// The card.
pub fn body(hook: &Hook, message: &Message, now_s: u64) -> Value {
    let color = match (message.resolved, message.severity()) {
        (true, _) => "green",
        (false, 1) => "red",
        (false, _) => "orange",
    };
    let mut body = json!({
        "msg_type": "interactive",
        "card": {
            "header": {
                "template": color,
                "title": { "tag": "plain_text", "content": title(message) },
            },
            "elements": [{ "tag": "markdown", "content": markdown(message) }],
        },
    });
    if let Some(secret) = &hook.secret {
        body["timestamp"] = json!(now_s.to_string());
        body["sign"] = json!(sign::feishu(secret, now_s));
    }
    body
}
