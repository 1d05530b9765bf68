//! DingTalk bots: Markdown; with a secret, time and sign in the query.

use serde_json::{Value, json};

use super::chat::{markdown, title};
use crate::webhook::config::Hook;
use crate::webhook::message::Message;
use crate::webhook::sign;

/// The message.
pub fn body(message: &Message) -> Value {
    json!({
        "msgtype": "markdown",
        "markdown": { "title": title(message), "text": markdown(message) },
    })
}

/// The URL, signed for this time where there is a secret.
pub fn url(hook: &Hook, now_ms: u64) -> String {
    let Some(secret) = &hook.secret else { return hook.url.clone() };
    // Of base64's characters these three mean something else in a query.
    let sign =
        sign::dingtalk(secret, now_ms).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let separator = if hook.url.contains('?') { '&' } else { '?' };
    format!("{}{separator}timestamp={now_ms}&sign={sign}", hook.url)
}
