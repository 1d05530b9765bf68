//! The event itself, with the headers of Standard Webhooks (standardwebhooks.com, version 1).

use super::Request;
use crate::webhook::config::Hook;
use crate::webhook::message::Message;
use crate::webhook::sign::Key;

/// The request; the signature is of this try's time, the id is the message's.
pub fn request(hook: &Hook, message: &Message, now_s: u64) -> Request {
    let body = serde_json::to_vec(&message.event).expect("an event is made of JSON values");
    let mut headers =
        vec![("webhook-id", message.id.clone()), ("webhook-timestamp", now_s.to_string())];
    // The secret was parsed when the hook was made.
    if let Some(Ok(key)) = hook.secret.as_deref().map(Key::parse) {
        headers.push(("webhook-signature", key.signature(&message.id, now_s, &body)));
    }
    Request { url: hook.url.clone(), headers, body }
}
