//! PagerDuty Events API version 2: `trigger` and `resolve` with one `dedup_key`.

use serde_json::{Value, json};

use crate::webhook::config::Hook;
use crate::webhook::message::Message;

/// Longer summaries are refused.
const SUMMARY_MAX: usize = 1024;

/// The event; updates of an alert are triggers with the same key.
pub fn event(hook: &Hook, message: &Message) -> Value {
    let mut event = json!({
        "routing_key": hook.secret,
        "event_action": if message.resolved { "resolve" } else { "trigger" },
        "dedup_key": message.key,
        "client": "xdpwatch",
    });
    if !message.resolved {
        let severity = match message.severity() {
            1 => "critical",
            2 => "error",
            _ => "warning",
        };
        let summary = message.text(&["alert", "summary"]);
        event["payload"] = json!({
            "summary": summary.chars().take(SUMMARY_MAX).collect::<String>(),
            "source": message.text(&["sensor"]),
            "severity": severity,
            "timestamp": message.text(&["timestamp"]),
            "component": message.service(),
            "group": message.text(&["alert", "group", "source_pool"]),
            "class": message.text(&["alert", "category"]),
            "custom_details": message.event.get("alert"),
        });
    }
    event
}
