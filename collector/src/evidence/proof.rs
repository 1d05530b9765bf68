//! Whether packets alone give a finding again: tried out with a detector that sees nothing else.

use xdpwatch_core::aggregate::Aggregate;
use xdpwatch_core::finding::{Fact, Finding};
use xdpwatch_core::host::Model;
use xdpwatch_core::watch::{Config, Kind, Output, Watch};
use xdpwatch_prog::record::Record;

use super::case::{Choices, Exhibit};
use crate::merge::Merge;

/// A detector that sees one case.
const TUPLES: usize = 1024;

const SEEDS: [u64; 4] = [1, 2, 3, 4];

/// Facts of a collision that the packets alone must give again.
const DECISIVE: [&str; 9] = [
    "holder.state",
    "holder.since_ms",
    "holder.closed_by",
    "verdict",
    "cause",
    "answer",
    "isn_delta",
    "ts_delta",
    "outcome",
];

/// Facts that rest on connections besides those of the case, by the beginnings of their labels.
const BESIDES: [&str; 3] = ["legs.", "other_leg", "until"];

/// Whether the packets of the tuple give this finding about a collision.
pub fn gives_collision(finding: &Finding, exhibits: &[Exhibit], choices: &Choices) -> bool {
    outputs(finding, exhibits, choices).into_iter().any(|output| match output.kind {
        Kind::Report(report) => {
            let found = report.finding(proven_model(finding));
            let same = |label: &&str| found.fact(label) == finding.fact(label);
            found.id == finding.id && found.state == finding.state && DECISIVE.iter().all(same)
        }
        _ => false,
    })
}

/// Whether the packets give this finding of a rule that spans connections. Severity and confidence may
/// rest on others of the service as well.
pub fn gives(finding: &Finding, exhibits: &[Exhibit], choices: &Choices) -> bool {
    let mut aggregate = Aggregate::new(&choices.limits, SEEDS);
    let mut is_given = false;
    let mut take = |found: Finding| {
        is_given |= found.id == finding.id
            && found.state == finding.state
            && found.cause == finding.cause
            && own_facts(&found).eq(own_facts(finding));
    };
    let mut merge = Merge::new(1);
    outputs(finding, exhibits, choices).into_iter().for_each(|output| merge.push(0, output));
    merge.finish(&mut |output| aggregate.handle(output, &mut take));
    aggregate.finish(finding.at_ns, &mut take);
    is_given
}

fn own_facts(finding: &Finding) -> impl Iterator<Item = &(&'static str, Fact)> {
    let is_own = |label: &str| !BESIDES.iter().any(|besides| label.starts_with(besides));
    finding.facts.iter().filter(move |(label, _)| is_own(label))
}

/// What a detector makes of the packets of the finding's own tuples.
fn outputs(finding: &Finding, exhibits: &[Exhibit], choices: &Choices) -> Vec<Output> {
    let mut watch = Watch::new(Config {
        max_tuples: TUPLES,
        horizon_ns: u64::MAX,
        vlan_key: choices.vlan_key,
        all_reuse: choices.all_reuse,
        carries_data: false,
        hosts: choices.hosts.clone(),
        seeds: SEEDS,
    });
    let own = exhibits.iter().filter(|exhibit| exhibit.own.is_some());
    let records: Vec<Record> = own.map(|exhibit| exhibit.record).collect();
    let mut outputs = Vec::new();
    watch.observe(&records, &mut outputs);
    watch.finish(finding.at_ns, &mut outputs);
    outputs
}

/// The holder's model, if it was its host's other tuples that proved it.
fn proven_model(finding: &Finding) -> Option<Model> {
    let word = |label| match finding.fact(label) {
        Some(Fact::Word(word)) => Some(word),
        _ => None,
    };
    (word("host_model_from") == Some("evidence")).then(|| Model::named(word("host_model")?))?
}
