//! Which packets make a finding's case: the earlier connection, the collision, the other leg. Whether
//! they do is tried out: a detector that sees nothing else must come to the same finding.

use xdpwatch_core::finding::{Endpoint, Evidence, Fact, Finding, Grounds};
use xdpwatch_core::host::{Hosts, Model};
use xdpwatch_core::tuple::Tuple;
use xdpwatch_core::watch::{Config, Kind, Watch};
use xdpwatch_prog::record::Record;
use xdpwatch_prog::wire::parse_record;

use super::history::Packet;
use super::{frame, rebuild};

/// Of an earlier connection too long to be kept whole: its handshake.
const HANDSHAKE: usize = 3;

/// A detector that sees one case.
const TUPLES: usize = 1024;

/// Facts that the packets alone must give again.
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

/// How the detector that made the finding was set up, and how much is kept.
#[derive(Clone, Debug)]
pub struct Choices {
    /// Whether the VLAN ids are part of the tuple.
    pub vlan_key: bool,
    /// Whether accepted reuse is reported.
    pub all_reuse: bool,
    /// Whose TCP hosts have, as far as configured.
    pub hosts: Hosts,
    /// Packets of one case at most.
    pub packets_max: usize,
}

/// A packet of a case.
#[derive(Clone, Debug)]
pub struct Exhibit {
    /// Its headers.
    pub packet: Packet,
    /// What they say.
    pub record: Record,
    /// Whether it is on the finding's own tuple, not on the other leg.
    pub is_own: bool,
    /// Whether it was never seen like this.
    pub is_rebuilt: bool,
}

/// The packets of a finding, oldest first.
#[derive(Clone, Debug)]
pub struct Case {
    /// They.
    pub exhibits: Vec<Exhibit>,
    /// What they are.
    pub evidence: Evidence,
}

/// The tuples whose packets are asked for: the finding's own, then those of the other leg; none if it
/// has no grounds.
#[must_use]
pub fn tuples(finding: &Finding) -> Vec<Tuple> {
    let Some(Grounds { tuple: own, .. }) = finding.grounds else { return Vec::new() };
    let leg = |ip, port, to_ip, to_port| {
        let end = |ip, port| match (finding.fact(ip)?, finding.fact(port)?) {
            (Fact::Address(addr), Fact::Number(port)) => {
                Some(Endpoint { addr, port: u16::try_from(port).ok()? })
            }
            _ => None,
        };
        Some(Tuple::between(end(ip, port)?, end(to_ip, to_port)?, own.realm).0)
    };
    let new = leg("legs.new.src_ip", "legs.new.src_port", "legs.new.dest_ip", "legs.new.dest_port");
    let previous = leg(
        "legs.previous.src_ip",
        "legs.previous.src_port",
        "legs.previous.dest_ip",
        "legs.previous.dest_port",
    );
    let mut tuples = vec![own];
    for tuple in [new, previous].into_iter().flatten() {
        if !tuples.contains(&tuple) {
            tuples.push(tuple);
        }
    }
    tuples
}

/// Makes the case of packets as they were seen; `None` where the finding has no grounds.
#[must_use]
pub fn make(finding: &Finding, seen: Vec<Packet>, choices: &Choices) -> Option<Case> {
    let grounds = finding.grounds.as_ref()?;
    let mut exhibits = admit(finding, grounds, seen, choices);
    let began_ns = finding.began_ns;
    let since_ns = grounds.previous.map_or(began_ns, |flow| flow.first_us * 1000);
    exhibits.retain(|exhibit| exhibit.packet.at_ns / 1000 >= since_ns / 1000);
    let mut exhibits = shorten(exhibits, began_ns, choices.packets_max);
    if gives(finding, &exhibits, choices) {
        return Some(Case { exhibits, evidence: Evidence::Seen });
    }
    let began = |exhibit: &Exhibit| exhibit.packet.at_ns / 1000 >= began_ns / 1000;
    exhibits.retain(|exhibit| !exhibit.is_own || began(exhibit));
    let earlier =
        grounds.previous.iter().flat_map(|flow| rebuild::earlier(finding, &grounds.tuple, flow));
    let has_syn = exhibits.iter().any(|e| e.is_own && e.packet.at_ns / 1000 == began_ns / 1000);
    let rebuilt = earlier.chain((!has_syn).then_some(grounds.syn)).map(|record| Exhibit {
        packet: frame::packet(&record),
        record,
        is_own: true,
        is_rebuilt: true,
    });
    exhibits.extend(rebuilt);
    exhibits.sort_by_key(|exhibit| exhibit.packet.at_ns);
    Some(Case { exhibits, evidence: Evidence::Rebuilt })
}

/// Those that belong to the finding's tuples, in order of time.
fn admit(
    finding: &Finding,
    grounds: &Grounds,
    seen: Vec<Packet>,
    choices: &Choices,
) -> Vec<Exhibit> {
    let tuples = tuples(finding);
    let mut exhibits: Vec<Exhibit> = Vec::new();
    for packet in seen {
        let Ok(record) = parse_record(&packet.bytes, packet.frame_len, packet.at_ns, packet.link)
        else {
            continue;
        };
        let tuple = Tuple::of(&record, choices.vlan_key).0;
        if tuples.contains(&tuple) {
            let is_own = tuple == grounds.tuple;
            exhibits.push(Exhibit { packet, record, is_own, is_rebuilt: false });
        }
    }
    exhibits.sort_by_key(|exhibit| exhibit.packet.at_ns);
    exhibits
}

/// At most `most` packets: the collision's first, and of what was before the beginning and the end.
fn shorten(exhibits: Vec<Exhibit>, began_ns: u64, most: usize) -> Vec<Exhibit> {
    if exhibits.len() <= most {
        return exhibits;
    }
    let began = exhibits.partition_point(|e| e.packet.at_ns / 1000 < began_ns / 1000);
    let collision = (exhibits.len() - began).min(most - most / 4);
    let before = (most - collision).min(began);
    let kept = |n: usize| {
        n < HANDSHAKE.min(before)
            || (began - before.saturating_sub(HANDSHAKE)..began + collision).contains(&n)
    };
    let numbered = exhibits.into_iter().enumerate();
    numbered.filter(|(n, _)| kept(*n)).map(|(_, exhibit)| exhibit).collect()
}

/// Whether a detector that sees these packets alone comes to this finding.
fn gives(finding: &Finding, exhibits: &[Exhibit], choices: &Choices) -> bool {
    let mut watch = Watch::new(Config {
        max_tuples: TUPLES,
        horizon_ns: u64::MAX,
        vlan_key: choices.vlan_key,
        all_reuse: choices.all_reuse,
        carries_data: false,
        hosts: choices.hosts.clone(),
        seeds: [1, 2, 3, 4],
    });
    let records: Vec<Record> = exhibits.iter().filter(|e| e.is_own).map(|e| e.record).collect();
    let mut outputs = Vec::new();
    watch.observe(&records, &mut outputs);
    watch.finish(finding.at_ns, &mut outputs);
    outputs.into_iter().any(|output| match output.kind {
        Kind::Report(report) => {
            let found = report.finding(proven_model(finding));
            let same = |label: &&str| found.fact(label) == finding.fact(label);
            found.id == finding.id && found.state == finding.state && DECISIVE.iter().all(same)
        }
        _ => false,
    })
}

/// The holder's model, if it was its host's other tuples that proved it.
fn proven_model(finding: &Finding) -> Option<Model> {
    let word = |label| match finding.fact(label) {
        Some(Fact::Word(word)) => Some(word),
        _ => None,
    };
    (word("host_model_from") == Some("evidence")).then(|| Model::named(word("host_model")?))?
}
