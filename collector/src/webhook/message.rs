//! What is spooled: an event of a group, with what order and duplicates go by. No secret is in it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
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
