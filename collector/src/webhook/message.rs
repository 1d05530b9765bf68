//! What is spooled: an event of a group, with what order and duplicates go by. No secret is in it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use xdpwatch_core::finding::State;
use xdpwatch_core::group::Change;

use crate::report::{Context, group};

/// One alert on its way to one or several hooks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// `webhook-id`: the same on every try, after a restart, and when a file is read again.
    pub id: String,
    /// The same for all messages whose order matters: of one group of one vantage point.
    pub key: String,
    /// The group's revision, from 1.
    pub revision: u64,
    /// Whether it is the group's end.
    pub resolved: bool,
    /// The event.
    pub event: Map<String, Value>,
}

impl Message {
    /// The message for a change of a group.
    #[must_use]
    pub fn of(context: &Context, change: &Change<'_>, utc_offset_ns: i64) -> Self {
        let group = change.group;
        let digest = |parts: &[&[u8]]| {
            let mut hash = Sha256::new();
            for part in [context.sensor.as_bytes(), context.name().as_bytes()].iter().chain(parts) {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
            hash.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        Self {
            id: format!(
                "msg_{}",
                digest(&[&group.id.to_be_bytes(), &group.revision.to_be_bytes()])
            ),
            key: digest(&[&group.key.to_be_bytes()]),
            revision: group.revision,
            resolved: change.state == State::Resolved,
            event: group::event(context, change, utc_offset_ns),
        }
    }

    /// The end of the group whose last message this is: the run that told of it was cut off, and
    /// nothing is known of it since. It has an id of its own, always the same.
    #[must_use]
    pub fn ended(&self) -> Self {
        let mut end = self.varied("restart");
        end.resolved = true;
        end.revision += 1;
        let alert = &mut end.event["alert"];
        alert["state"] = json!("resolved");
        alert["until"] = json!("restart");
        alert["group"]["revision"] = json!(end.revision);
        end
    }

    /// The beginning of the group whose end this is, for those who were not told of it.
    #[must_use]
    pub fn begun(&self) -> Self {
        let mut begun = self.varied("begun");
        begun.resolved = false;
        begun.event["alert"]["state"] = json!("firing");
        begun
    }

    /// The same under an id of its own.
    fn varied(&self, how: &str) -> Self {
        let digest = Sha256::digest(format!("{} {how}", self.id));
        let hex: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        Self { id: format!("msg_{hex}"), ..self.clone() }
    }

    /// Whether both are of one group, and not of an earlier one with the same key.
    #[must_use]
    pub fn is_of_group(&self, other: &Self) -> bool {
        let id = ["alert", "group", "id"];
        self.text(&id) == other.text(&id)
    }

    /// A text of the event at this path, or nothing.
    #[must_use]
    pub fn text(&self, pointer: &[&str]) -> &str {
        self.at(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// A number of the event at this path, or 0.
    #[must_use]
    pub fn number(&self, pointer: &[&str]) -> u64 {
        self.at(pointer).and_then(Value::as_u64).unwrap_or_default()
    }

    fn at(&self, pointer: &[&str]) -> Option<&Value> {
        let (first, rest) = pointer.split_first()?;
        rest.iter().try_fold(self.event.get(*first)?, |value, key| value.get(key))
    }

    /// 1 worst to 3.
    #[must_use]
    pub fn severity(&self) -> u64 {
        self.number(&["alert", "severity"])
    }

    /// The service as `address:port`, or empty.
    #[must_use]
    pub fn service(&self) -> &str {
        self.text(&["alert", "group", "service"])
    }

    /// `firing` or `resolved`.
    #[must_use]
    pub fn state(&self) -> &'static str {
        if self.resolved { "resolved" } else { "firing" }
    }
}
