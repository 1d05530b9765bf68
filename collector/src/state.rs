//! What others may look at while xdpwatch runs: groups of alerts, services that were hurt, statistics,
//! and whether all is well. The reporting thread fills it in; every part is bounded.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use xdpwatch_core::finding::{self, About, Fact, Finding};
use xdpwatch_core::group::Change;

use crate::report::values::endpoint;
use crate::report::{Context, Occasion, Reporter, group, json, time::rfc3339};
use crate::stats::Stats;

/// Groups that stand, as far as they are shown.
const OPEN_MAX: usize = 1000;

/// Resolved groups that are still shown.
const RECENT_MAX: usize = 1000;

/// Services that are told apart.
const SERVICES_MAX: usize = 64;

/// Who reports nothing for this long does not get round to it.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// What happened to one service.
#[derive(Clone, Debug, Default)]
pub struct Service {
    /// Findings about it.
    pub findings: u64,
    /// Those findings by cause, as far as known when they fired.
    pub causes: BTreeMap<&'static str, u64>,
    /// The longest that one of its clients waited, milliseconds.
    pub worst_stall_ms: i64,
    /// Time of the latest event about it.
    pub last: Value,
}

/// One vantage point's latest numbers.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The interface's or the file's name.
    pub source: String,
    /// Its numbers.
    pub stats: Stats,
    /// The same as the event.
    pub event: Map<String, Value>,
    trouble: Option<String>,
    looked: Instant,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Seen {
    /// Groups that stand: by id, the latest event. Oldest first in `order`.
    open: HashMap<u64, Map<String, Value>>,
    order: VecDeque<u64>,
    recent: VecDeque<Map<String, Value>>,
    /// Groups that found no place among those that stand.
    pub open_overflow: u64,
    /// By rule and cause, findings that fired.
    pub fired: BTreeMap<(&'static str, &'static str), u64>,
    /// By address and port of the server.
    pub services: BTreeMap<String, Service>,
    /// Findings about services that found no place there.
    pub services_overflow: u64,
    /// By vantage point, in the order in which they came.
    pub vantages: Vec<Shown>,
    /// Of what confines the process, what is not in force, and why.
    pub unconfined: Option<String>,
}

/// Shared between the reporting thread and whoever asks.
#[derive(Clone, Debug, Default)]
pub struct State(Arc<Mutex<Seen>>);

impl State {
    /// What was seen so far.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        // Numbers half updated by a panic elsewhere are better than none.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the numbers of a vantage point, and what keeps it from being ready.
    pub fn show(&self, context: &Context, stats: Stats, trouble: Option<String>) {
        let event = json::statistics(context, &stats, Occasion::Asked);
        let source = context.name().to_owned();
        let shown = Shown { source, stats, event, trouble, looked: Instant::now() };
        let mut seen = self.seen();
        match seen.vantages.iter_mut().find(|known| known.source == shown.source) {
            Some(known) => *known = shown,
            None => seen.vantages.push(shown),
        }
    }
}

impl Seen {
    /// What keeps it from being ready.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let Some(latest) = self.vantages.iter().map(|shown| shown.looked).max() else {
            return Some("not started yet".to_owned());
        };
        if latest.elapsed() > SILENCE_MAX {
            return Some("the reporting thread has not been heard of for seconds".to_owned());
        }
        self.vantages.iter().find_map(|shown| shown.trouble.clone())
    }

    /// Groups that stand, and those resolved last, oldest first.
    #[must_use]
    pub fn alerts(&self) -> Value {
        let open: Vec<_> = self.order.iter().filter_map(|id| self.open.get(id)).collect();
        json!({ "open": open, "recent": self.recent, "overflow": self.open_overflow })
    }

    /// Groups that stand.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Services that were hurt, and the largest services of each vantage point by connections.
    #[must_use]
    pub fn services(&self) -> Value {
        let services: Vec<Value> = self
            .services
            .iter()
            .map(|(name, service)| {
                json!({
                    "service": name,
                    "findings": service.findings,
                    "causes": service.causes,
                    "worst_stall_ms": service.worst_stall_ms,
                    "last": service.last,
                })
            })
            .collect();
        let census: Map<String, Value> = self
            .vantages
            .iter()
            .map(|shown| (shown.source.clone(), shown.event["stats"]["census"].clone()))
            .collect();
        json!({ "services": services, "overflow": self.services_overflow, "census": census })
    }

    fn take(&mut self, change: &Change<'_>, event: Map<String, Value>) {
        let id = change.group.id;
        if change.state == finding::State::Resolved {
            if self.open.remove(&id).is_some() {
                self.order.retain(|known| *known != id);
            }
            if self.recent.len() == RECENT_MAX {
                self.recent.pop_front();
            }
            self.recent.push_back(event);
            return;
        }
        let is_new = !self.open.contains_key(&id);
        if is_new && self.open.len() == OPEN_MAX {
            self.open_overflow += 1;
            return;
        }
        if is_new {
            self.order.push_back(id);
        }
        self.open.insert(id, event);
    }

    fn count(&mut self, finding: &Finding, utc_offset_ns: i64) {
        let fires = finding.state == finding::State::Firing;
        if fires {
            *self.fired.entry((finding.rule.name, finding.cause)).or_default() += 1;
        }
        if matches!(finding.about, About::Source | About::Feed) {
            return;
        }
        let name = endpoint(&finding.dst);
        if self.services.len() >= SERVICES_MAX && !self.services.contains_key(&name) {
            self.services_overflow += u64::from(fires);
            return;
        }
        let service = self.services.entry(name).or_default();
        if fires {
            service.findings += 1;
            *service.causes.entry(finding.cause).or_default() += 1;
        }
        if let Some(Fact::Number(stall_ms)) = finding.fact("stall_ms") {
            service.worst_stall_ms = service.worst_stall_ms.max(stall_ms);
        }
        service.last = json!(rfc3339(finding.at_ns.saturating_add_signed(utc_offset_ns)));
    }
}

/// A reporter that also fills in the state.
pub struct Shower<'a> {
    inner: Box<dyn Reporter + 'a>,
    state: State,
}

impl<'a> Shower<'a> {
    /// Around another reporter.
    #[must_use]
    pub fn new(inner: Box<dyn Reporter + 'a>, state: State) -> Self {
        Self { inner, state }
    }
}

impl Reporter for Shower<'_> {
    fn inner(&mut self) -> Option<&mut dyn Reporter> {
        Some(&mut *self.inner)
    }

    fn finding(
        &mut self,
        context: &Context,
        finding: &Finding,
        group_id: u64,
        utc_offset_ns: i64,
    ) -> io::Result<()> {
        self.state.seen().count(finding, utc_offset_ns);
        self.inner.finding(context, finding, group_id, utc_offset_ns)
    }

    fn group(
        &mut self,
        context: &Context,
        change: &Change<'_>,
        utc_offset_ns: i64,
    ) -> io::Result<()> {
        let event = group::event(context, change, utc_offset_ns);
        self.state.seen().take(change, event);
        self.inner.group(context, change, utc_offset_ns)
    }

    /// Whoever may ask asks here: nobody behind this does.
    fn show(&mut self, context: &Context, stats: Stats, trouble: Option<String>) {
        self.state.show(context, stats, trouble);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Origin;

    #[test]
    fn it_is_ready_only_while_it_is_told_so() {
        let state = State::default();
        let origin = Origin::Interface("mirror0".to_owned());
        let context = Context { sensor: "s".to_owned(), origin };
        let trouble = || state.seen().trouble();
        let show = |trouble| state.show(&context, Stats::default(), trouble);
        assert!(trouble().is_some(), "nobody has said so yet");
        show(None);
        assert_eq!(trouble(), None);
        show(Some("queue 3 is silent".to_owned()));
        assert_eq!(trouble().as_deref(), Some("queue 3 is silent"));
        show(None);
        state.seen().vantages[0].looked = Instant::now().checked_sub(2 * SILENCE_MAX).unwrap();
        assert!(trouble().is_some());
    }
}
