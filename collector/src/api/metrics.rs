//! The state as OpenMetrics: every number of the `stats` event under the same name, and what alerts
//! add up to. No label takes more values than the state has places.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::state::{Seen, State};

/// Groups whose names are reasons of one thing: a metric with a label, not a metric each.
const REASONS: [(&str, &str); 2] = [("skipped", "reason"), ("program", "outcome")];

/// Groups of what stands at the moment, or of the last seconds.
const GAUGE_GROUPS: [&str; 3] = ["table", "loss", "latency"];

/// What goes down too, of other groups.
const GAUGES: [(&str, &str); 3] =
    [("evidence", "files"), ("evidence", "bytes"), ("webhook", "waiting")];

/// The text that Prometheus reads.
///
/// # Errors
/// None in practice: writing to memory does not fail.
pub fn text(state: &State) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot(state.clone())));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Snapshot(State);

/// Label names and values.
type Labels = Vec<(&'static str, String)>;

/// A metric: counter or gauge, and the values by labels.
#[derive(Default)]
struct Family {
    help: String,
    is_gauge: bool,
    values: Vec<(Labels, u64)>,
}

impl Family {
    fn encode(&self, value: u64, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        if self.is_gauge {
            ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(encoder)
        } else {
            ConstCounter::new(value).encode(encoder)
        }
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let seen = self.0.seen();
        let mut families = BTreeMap::new();
        numbers(&seen, &mut families);
        alerts(&seen, &mut families);
        drop(seen);
        for (name, family) in &families {
            let kind = if family.is_gauge { MetricType::Gauge } else { MetricType::Counter };
            let mut metric = encoder.encode_descriptor(name, &family.help, None, kind)?;
            if let [(labels, value)] = family.values.as_slice()
                && labels.is_empty()
            {
                family.encode(*value, metric)?;
                continue;
            }
            for (labels, value) in &family.values {
                family.encode(*value, metric.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

/// The numbers of the `stats` events.
fn numbers(seen: &Seen, families: &mut BTreeMap<String, Family>) {
    for shown in &seen.vantages {
        for (iface, live) in &shown.stats.interfaces {
            live.each_of_interface(&mut |name, value| {
                let family = families.entry(format!("xdpwatch_interface_{name}")).or_default();
                family.help = format!("stats.capture.{name}, by interface");
                let source = ("source", shown.source.clone());
                family.values.push((vec![source, ("iface", iface.clone())], value));
            });
        }
        shown.stats.each(&mut |group, name, value| {
            let mut labels = vec![("source", shown.source.clone())];
            let reason = REASONS.iter().find(|(reasons, _)| *reasons == group);
            let (metric, help) = match reason {
                Some((_, label)) => {
                    labels.push((label, name.to_owned()));
                    (format!("xdpwatch_{group}"), format!("stats.{group}, by {label}"))
                }
                None => (format!("xdpwatch_{group}_{name}"), format!("stats.{group}.{name}")),
            };
            let family = families.entry(metric).or_default();
            family.help = help;
            family.is_gauge = GAUGE_GROUPS.contains(&group) || GAUGES.contains(&(group, name));
            family.values.push((labels, value));
        });
    }
}

/// What there is besides.
fn alerts(seen: &Seen, families: &mut BTreeMap<String, Family>) {
    let mut add = |name: &str, help: &str, is_gauge, values| {
        let family = Family { help: help.to_owned(), is_gauge, values };
        families.insert(format!("xdpwatch_{name}"), family);
    };
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    add("build_info", "What runs", true, vec![(version, 1)]);
    let ready = u64::from(seen.trouble().is_none());
    add("ready", "1 while attached and every queue delivers", true, vec![(vec![], ready)]);
    add("alerts_open", "Groups of alerts that stand", true, vec![(vec![], seen.open() as u64)]);
    let overflow = vec![(vec![], seen.open_overflow)];
    add("alerts_overflow", "Groups that were too many to be shown", false, overflow);
    let by_cause = seen.fired.iter().map(|((rule, cause), count)| {
        (vec![("rule", (*rule).to_owned()), ("cause", (*cause).to_owned())], *count)
    });
    add("alerts_fired", "Findings that fired, by rule and cause", false, by_cause.collect());
    let by_service = seen
        .services
        .iter()
        .map(|(name, service)| (vec![("service", name.clone())], service.findings));
    add("service_alerts", "Findings that fired, by service", false, by_service.collect());
    let overflow = vec![(vec![], seen.services_overflow)];
    let help = "Findings about services beyond those told apart";
    add("service_alerts_overflow", help, false, overflow);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Context, Origin};
    use crate::stats::Stats;

    #[test]
    fn every_number_of_the_event_is_there_under_its_name() {
        let state = State::default();
        let origin = Origin::Interface("mirror0".to_owned());
        let context = Context { sensor: "s".to_owned(), origin };
        let mut stats = Stats {
            live: Some(Default::default()),
            skipped: vec![("short", 3)],
            ..Stats::default()
        };
        stats.detector.counters.records = 7;
        state.show(&context, stats.clone(), None);
        let text = text(&state).unwrap();
        assert!(text.contains("xdpwatch_detector_records_total{source=\"mirror0\"} 7\n"), "{text}");
        assert!(text.contains("xdpwatch_skipped_total{source=\"mirror0\",reason=\"short\"} 3\n"));
        assert!(text.contains("# TYPE xdpwatch_table_time_wait gauge\n"), "{text}");
        stats.each(&mut |group, name, _| {
            let name = format!("xdpwatch_{group}_{name}");
            assert!(group == "skipped" || text.contains(&name), "{name}\n{text}");
        });
        assert!(text.ends_with("# EOF\n"));
    }
}
