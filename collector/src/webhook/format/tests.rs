//! Every format's body, held against what its vendor documents.

use std::fs;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::{Format, Request, Verdict};
use crate::webhook::config::Hook;
use crate::webhook::message::Message;

const NOW_S: u64 = 1_700_000_000;

fn message(resolved: bool) -> Message {
    let event = json!({
        "timestamp": "2023-11-14T22:15:00.000000Z",
        "sensor": "sensor-1",
        "in_iface": "mirror0",
        "alert": {
            "signature": "tuple_reuse",
            "category": "paws",
            "severity": 1,
            "state": if resolved { "resolved" } else { "firing" },
            "summary": "SYN <1> & more",
            "advice": [{ "component": "balancer", "setting": "one clock", "why": "because" }],
            "group": {
                "id": "00000000000000aa", "key": "00000000000000bb", "service": "10.0.0.1:80",
                "source_pool": "10.1.0.0/24", "first": "2023-11-14T22:13:20.000000Z",
                "count": 3, "open": 1,
            },
        },
    });
    let Value::Object(event) = event else { unreachable!("an object") };
    let (id, key) = ("msg_1".to_owned(), "key-1".to_owned());
    Message { id, key, revision: 2, resolved, event }
}

/// A hook of this format; secret and template come from files, as they always do.
fn hook(format: &str, secret: Option<&str>, template: Option<&str>) -> anyhow::Result<Hook> {
    let dir = tempfile::tempdir()?;
    let mut config = Map::new();
    config.insert("url".to_owned(), json!("https://hooks.example/send?key=1"));
    config.insert("format".to_owned(), json!(format));
    for (key, text) in [("secret_file", secret), ("template", template)] {
        if let Some(text) = text {
            fs::write(dir.path().join(key), text)?;
            config.insert(key.to_owned(), json!(dir.path().join(key)));
        }
    }
    crate::webhook::config::tests::hook(Value::Object(config))
}

fn request(format: &str, secret: Option<&str>, resolved: bool) -> Request {
    let hook = hook(format, secret, None).unwrap();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_S);
    hook.format.request(&hook, &message(resolved), now).unwrap()
}

fn body(format: &str, secret: Option<&str>, resolved: bool) -> Value {
    serde_json::from_slice(&request(format, secret, resolved).body).unwrap()
}

#[test]
fn standard_without_a_secret_is_unsigned() {
    let request = request("standard", None, false);
    let names: Vec<_> = request.headers.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["webhook-id", "webhook-timestamp"]);
    assert_eq!(serde_json::from_slice::<Value>(&request.body).unwrap()["sensor"], "sensor-1");
}

#[test]
fn alertmanager_identifies_by_labels_that_do_not_change() {
    let (firing, resolved) = (body("alertmanager", None, false), body("alertmanager", None, true));
    assert_eq!(firing[0]["labels"], resolved[0]["labels"]);
    assert_eq!(firing[0]["labels"]["origin"], "mirror0");
    assert_eq!(firing[0]["startsAt"], "2023-11-14T22:13:20.000000Z");
    assert_eq!(firing[0]["endsAt"], "2023-11-15T22:13:20Z", "a day from now");
    assert_eq!(resolved[0]["endsAt"], "2023-11-14T22:15:00.000000Z");
    let values = ["labels", "annotations"].into_iter().flat_map(|key| firing[0][key].as_object());
    assert!(values.flatten().all(|(_, value)| value.is_string()), "the API takes only strings");
}

#[test]
fn alertmanager_webhook_is_of_version_4() {
    let resolved = body("alertmanager-webhook", None, true);
    assert_eq!((&resolved["version"], &resolved["status"]), (&"4".into(), &"resolved".into()));
    let alert = &resolved["alerts"][0];
    assert_eq!(alert["endsAt"], "2023-11-14T22:15:00.000000Z");
    assert_eq!(alert["labels"], resolved["commonLabels"]);
    let firing = body("alertmanager-webhook", None, false);
    assert_eq!(firing["alerts"][0]["endsAt"], "0001-01-01T00:00:00Z");
}

#[test]
fn pagerduty_triggers_and_resolves_one_key() {
    let firing = body("pagerduty", Some("R0UT1NG\n"), false);
    let expected =
        [("routing_key", "R0UT1NG"), ("event_action", "trigger"), ("dedup_key", "key-1")];
    for (key, value) in expected {
        assert_eq!(firing[key], value);
    }
    assert_eq!(firing["payload"]["severity"], "critical");
    assert_eq!(firing["payload"]["component"], "10.0.0.1:80");
    let resolved = body("pagerduty", Some("R0UT1NG"), true);
    assert_eq!(
        (&resolved["event_action"], &resolved["dedup_key"]),
        (&"resolve".into(), &"key-1".into())
    );
    assert_eq!(resolved["payload"], Value::Null);
}

#[test]
fn chat_rooms_get_title_sentence_and_facts() {
    let slack = body("slack", None, false);
    assert_eq!(slack["blocks"][0]["text"]["text"], "FIRING tuple_reuse severity 1");
    assert_eq!(slack["blocks"][1]["text"]["text"], "SYN &lt;1&gt; &amp; more");
    let fields = slack["blocks"][2]["fields"].as_array().unwrap();
    assert!(fields.len() <= 10, "Slack takes ten");
    assert!(fields.iter().any(|field| field["text"] == "*to do*\nbalancer: one clock"));
    let teams = body("teams", None, true);
    let card = &teams["attachments"][0];
    assert_eq!(card["contentType"], "application/vnd.microsoft.card.adaptive");
    assert_eq!(card["content"]["body"][0]["color"], "Good");
    let wecom = body("wecom", None, false);
    assert!(wecom["markdown"]["content"].as_str().unwrap().contains("- cause: paws"));
}

#[test]
fn wecom_is_cut_at_its_limit_and_between_characters() {
    let hook = hook("wecom", None, None).unwrap();
    let mut long = message(false);
    long.event["alert"]["summary"] = json!("长".repeat(3000));
    let request = hook.format.request(&hook, &long, SystemTime::UNIX_EPOCH).unwrap();
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let len = body["markdown"]["content"].as_str().unwrap().len();
    assert!((4090..=4096).contains(&len), "{len}");
}

#[test]
fn feishu_and_dingtalk_are_signed_as_their_vendors_say() {
    // Both values were made with Python's hmac.
    let feishu = body("feishu", Some("s3cret"), false);
    assert_eq!(feishu["timestamp"], "1700000000");
    assert_eq!(feishu["sign"], "IX3eHI0/v/Td7jqJ0ynSEK3Dq5JY3HUZeoeMgVZeZGo=");
    assert_eq!(body("feishu", None, false)["sign"], Value::Null);
    let dingtalk = request("dingtalk", Some("SECs3cret"), false);
    assert_eq!(
        dingtalk.url,
        "https://hooks.example/send?key=1&timestamp=1700000000000&sign=%2BykBbojnLInLl2tGOLcvqcEm%2BweBRgUohqu2hirsslw%3D"
    );
    assert_eq!(request("dingtalk", None, false).url, "https://hooks.example/send?key=1");
}

#[test]
fn answers_with_status_200_may_be_refusals() {
    let cases = [
        (Format::Dingtalk, r#"{"errcode":0,"errmsg":"ok"}"#, Verdict::Accepted),
        (
            Format::Dingtalk,
            r#"{"errcode":310000,"errmsg":"sign not match"}"#,
            Verdict::Refused("errcode 310000: sign not match".to_owned()),
        ),
        (
            Format::Wecom,
            r#"{"errcode":45009,"errmsg":"api freq out of limit"}"#,
            Verdict::Later("errcode 45009: api freq out of limit".to_owned()),
        ),
        (
            Format::Feishu,
            r#"{"code":19021,"msg":"sign match fail"}"#,
            Verdict::Refused("code 19021: sign match fail".to_owned()),
        ),
        (Format::Feishu, r#"{"StatusCode":0}"#, Verdict::Accepted),
        (Format::Slack, "ok", Verdict::Accepted),
    ];
    for (format, body, verdict) in cases {
        assert_eq!(format.verdict(body), verdict, "{body}");
    }
}

#[test]
fn templates_are_filled_in_and_their_mistakes_told() {
    let source = "{\"text\": {{ alert.summary | tojson }}, \"n\": {{ revision }}}";
    let hook_ = hook("template", None, Some(source)).unwrap();
    let request = hook_.format.request(&hook_, &message(false), SystemTime::UNIX_EPOCH).unwrap();
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body, json!({ "text": "SYN <1> & more", "n": 2 }));
    let misspelt = hook("template", None, Some("{{ alert.sumary }}")).unwrap();
    assert!(misspelt.format.request(&misspelt, &message(false), SystemTime::UNIX_EPOCH).is_err());
    let endless = hook(
        "template",
        None,
        Some("{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}"),
    );
    let endless = endless.unwrap();
    assert!(endless.format.request(&endless, &message(false), SystemTime::UNIX_EPOCH).is_err());
    assert!(hook("template", None, Some("{{ unclosed")).is_err());
}
