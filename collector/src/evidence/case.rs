//! Which packets make a finding's case: the earlier connection, the collision and the other leg, or
//! some of the connections that made a rule fire.

use xdpwatch_core::detect::Limits;
use xdpwatch_core::finding::{About, Endpoint, Fact, Finding};
use xdpwatch_core::flow::Flow;
use xdpwatch_core::grounds::{Evidence, Example, Examples, Grounds, Held};
use xdpwatch_core::host::Hosts;
use xdpwatch_core::tuple::Tuple;
use xdpwatch_prog::record::Record;
use xdpwatch_prog::wire::parse_record;

use super::history::Packet;
use super::{frame, proof, rebuild};

/// Of a connection too long to be kept whole: its handshake.
const HANDSHAKE: usize = 3;

/// Legs that a finding may name besides its own tuples.
const LEGS: [&str; 3] = ["legs.new", "legs.previous", "other_leg"];

/// How the detector that made the finding was set up, and how much is kept.
#[derive(Clone, Debug)]
pub struct Choices {
    /// Whether the VLAN ids are part of the tuple.
    pub vlan_key: bool,
    /// Whether accepted reuse is reported.
    pub all_reuse: bool,
    /// Whose TCP hosts have, as far as configured.
    pub hosts: Hosts,
    /// Thresholds of the rules.
    pub limits: Limits,
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
    /// Which of the finding's own tuples it is on; `None` on the other leg.
    pub own: Option<usize>,
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
    let mut tuples = own(finding);
    let Some(Tuple { realm, .. }) = tuples.first().copied() else { return tuples };
    for leg in LEGS {
        if let Some(tuple) = other_leg(finding, leg, realm)
            && !tuples.contains(&tuple)
        {
            tuples.push(tuple);
        }
    }
    tuples
}

fn own(finding: &Finding) -> Vec<Tuple> {
    match &finding.grounds {
        None => Vec::new(),
        Some(Grounds::Held(held)) => vec![held.tuple],
        Some(Grounds::Examples(examples)) => examples.tuples(),
    }
}

fn other_leg(finding: &Finding, leg: &str, realm: u32) -> Option<Tuple> {
    let fact = |name: &str| finding.fact(&format!("{leg}.{name}"));
    let end = |ip, port| match (fact(ip)?, fact(port)?) {
        (Fact::Address(addr), Fact::Number(port)) => {
            Some(Endpoint { addr, port: u16::try_from(port).ok()? })
        }
        _ => None,
    };
    Some(Tuple::between(end("src_ip", "src_port")?, end("dest_ip", "dest_port")?, realm).0)
}

/// Makes the case of packets as they were seen; `None` where there is nothing to show. Unless `may_try`,
/// that of a rule that spans connections is not tried out, and counts as a part.
#[must_use]
pub fn make(
    finding: &Finding,
    seen: Vec<Packet>,
    choices: &Choices,
    may_try: bool,
) -> Option<Case> {
    let exhibits = admit(finding, seen, choices);
    match finding.grounds.as_ref()? {
        Grounds::Held(held) => Some(collision(finding, held, exhibits, choices)),
        Grounds::Examples(of) => examples(finding, of, exhibits, choices, may_try),
    }
}

/// The case of a SYN on a tuple that is still held. The earlier connection's packets are made anew if
/// those that were seen do not give the finding.
fn collision(
    finding: &Finding,
    held: &Held,
    mut exhibits: Vec<Exhibit>,
    choices: &Choices,
) -> Case {
    let began_ns = finding.began_ns;
    let since_ns = held.previous.map_or(began_ns, |flow| flow.first_us * 1000);
    exhibits.retain(|exhibit| exhibit.packet.at_ns / 1000 >= since_ns / 1000);
    let mut exhibits = shorten(exhibits, began_ns, choices.packets_max);
    if proof::gives_collision(finding, &exhibits, choices) {
        return Case { exhibits, evidence: Evidence::Seen };
    }
    let began = |exhibit: &Exhibit| exhibit.packet.at_ns / 1000 >= began_ns / 1000;
    exhibits.retain(|exhibit| exhibit.own.is_none() || began(exhibit));
    let earlier =
        held.previous.iter().flat_map(|flow| rebuild::earlier(finding, &held.tuple, flow));
    let is_syn = |e: &Exhibit| e.own.is_some() && e.packet.at_ns / 1000 == began_ns / 1000;
    let has_syn = exhibits.iter().any(is_syn);
    exhibits.extend(earlier.chain((!has_syn).then_some(held.syn)).map(made));
    exhibits.sort_by_key(|exhibit| exhibit.packet.at_ns);
    Case { exhibits, evidence: Evidence::Rebuilt }
}

/// The case of connections that made a rule fire, each with its share of the packets. Where there were
/// more than are shown it is not tried out: a part does not give the whole.
fn examples(
    finding: &Finding,
    examples: &Examples,
    mut exhibits: Vec<Exhibit>,
    choices: &Choices,
    may_try: bool,
) -> Option<Case> {
    if finding.about == About::Connection {
        let began = |e: &Exhibit| e.packet.at_ns / 1000 >= finding.began_ns / 1000;
        exhibits.retain(|exhibit| exhibit.own.is_none() || began(exhibit));
    }
    if let Some(flow) = examples.flow
        && let [example] = examples.kept()
        && !exhibits.iter().any(|e| e.own.is_some() && e.packet.at_ns / 1000 == example.at_us)
    {
        return Some(Case {
            exhibits: rebuilt(finding, example, &flow, exhibits),
            evidence: Evidence::Rebuilt,
        });
    }
    exhibits.iter().any(|exhibit| exhibit.own.is_some()).then_some(())?;
    let tuples = tuples(finding);
    let share = choices.packets_max / tuples.len().max(1);
    let own = examples.tuples().len();
    let mut kept = Vec::with_capacity(exhibits.len());
    for (n, tuple) in tuples.iter().enumerate() {
        let place = (n < own).then_some(n);
        let is_of =
            |e: &Exhibit| e.own == place && (place.is_some() || tuple_of(e, choices) == *tuple);
        let of_tuple: Vec<Exhibit> = exhibits.extract_if(.., |e| is_of(e)).collect();
        let told = examples.kept().iter().filter(|example| example.tuple == *tuple);
        let told_ns = told.map(|example| example.at_us * 1000).max().unwrap_or(finding.at_ns);
        kept.extend(shorten(of_tuple, told_ns, share));
    }
    kept.sort_by_key(|exhibit| exhibit.packet.at_ns);
    let is_all = examples.of as usize == examples.kept().len();
    let evidence = match may_try && is_all && proof::gives(finding, &kept, choices) {
        true => Evidence::Seen,
        false => Evidence::Part,
    };
    Some(Case { exhibits: kept, evidence })
}

/// The connection up to its decisive segment, made anew; what came after that was seen.
fn rebuilt(
    finding: &Finding,
    example: &Example,
    flow: &Flow,
    mut exhibits: Vec<Exhibit>,
) -> Vec<Exhibit> {
    exhibits.retain(|e| e.own.is_none() || e.packet.at_ns / 1000 > example.at_us);
    exhibits.extend(rebuild::earlier(finding, &example.tuple, flow).into_iter().map(made));
    exhibits.sort_by_key(|exhibit| exhibit.packet.at_ns);
    exhibits
}

/// A packet that was never seen like this.
fn made(record: Record) -> Exhibit {
    Exhibit { packet: frame::packet(&record), record, own: Some(0), is_rebuilt: true }
}

fn tuple_of(exhibit: &Exhibit, choices: &Choices) -> Tuple {
    Tuple::of(&exhibit.record, choices.vlan_key).0
}

/// Those that belong to the finding's tuples, in order of time.
fn admit(finding: &Finding, seen: Vec<Packet>, choices: &Choices) -> Vec<Exhibit> {
    let (tuples, own) = (tuples(finding), own(finding).len());
    let mut exhibits: Vec<Exhibit> = Vec::new();
    for packet in seen {
        let Ok(record) = parse_record(&packet.bytes, packet.frame_len, packet.at_ns, packet.link)
        else {
            continue;
        };
        let tuple = Tuple::of(&record, choices.vlan_key).0;
        if let Some(n) = tuples.iter().position(|known| *known == tuple) {
            let own = (n < own).then_some(n);
            exhibits.push(Exhibit { packet, record, own, is_rebuilt: false });
        }
    }
    exhibits.sort_by_key(|exhibit| exhibit.packet.at_ns);
    exhibits
}

/// At most `most` packets: the first from `began_ns` on, and of what was before the beginning and the
/// end.
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
