//! WeCom (WeChat Work) bots: Markdown of at most 4096 bytes.

use serde_json::{Value, json};

use super::chat::markdown;
use crate::webhook::message::Message;

/// The vendor's limit, bytes.
const CONTENT_MAX: usize = 4096;

/// The message.
pub fn body(message: &Message) -> Value {
    let text = markdown(message);
    let mut end = text.len().min(CONTENT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    json!({ "msgtype": "markdown", "markdown": { "content": text[..end] } })
}
