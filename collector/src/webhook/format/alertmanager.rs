//! Prometheus Alertmanager: its API (`POST /api/v2/alerts`), and the shape in which it calls webhook
//! receivers (version 4), for those who have receivers but no Alertmanager.

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::webhook::message::Message;

/// A firing alert ends by itself then, should its end never arrive. Alertmanager would otherwise end
/// it after its own `resolve_timeout` (5 m), because it expects repetition.
const STANDS_S: u64 = 24 * 3600;

/// The array that the API takes.
pub fn alerts(message: &Message, now_s: u64) -> Value {
    let ends_at = match message.resolved {
        true => message.text(&["timestamp"]).to_owned(),
        false => OffsetDateTime::from_unix_timestamp((now_s + STANDS_S).cast_signed())
            .ok()
            .and_then(|time| time.format(&Rfc3339).ok())
            .unwrap_or_default(),
    };
    json!([{
        "labels": labels(message),
        "annotations": annotations(message),
        "startsAt": starts_at(message),
        "endsAt": ends_at,
    }])
}

/// What Alertmanager posts to receivers.
pub fn webhook(message: &Message) -> Value {
    let status = message.state();
    let (labels, annotations) = (labels(message), annotations(message));
    let ends_at = match message.resolved {
        true => message.text(&["timestamp"]),
        false => "0001-01-01T00:00:00Z",
    };
    json!({
        "version": "4",
        "groupKey": format!("{{}}/xdpwatch:{}", message.key),
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "xdpwatch",
        "groupLabels": { "alertname": labels["alertname"] },
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "",
        "alerts": [{
            "status": status,
            "labels": labels,
            "annotations": annotations,
            "startsAt": starts_at(message),
            "endsAt": ends_at,
            "generatorURL": "",
            "fingerprint": message.text(&["alert", "group", "key"]),
        }],
    })
}

fn starts_at(message: &Message) -> &str {
    message.text(&["alert", "group", "first"])
}

/// Labels identify: only what stays the same from the first message to `resolved`.
fn labels(message: &Message) -> Value {
    let origin = ["in_iface", "pcap_filename"].iter().map(|key| message.text(&[key]));
    json!({
        "alertname": message.text(&["alert", "signature"]),
        "service": message.service(),
        "source_pool": message.text(&["alert", "group", "source_pool"]),
        "sensor": message.text(&["sensor"]),
        "origin": origin.collect::<String>(),
    })
}

fn annotations(message: &Message) -> Value {
    json!({
        "summary": message.text(&["alert", "summary"]),
        "severity": message.severity().to_string(),
        "cause": message.text(&["alert", "category"]),
        "count": message.number(&["alert", "group", "count"]).to_string(),
        "group_id": message.text(&["alert", "group", "id"]),
    })
}
