//! Grouping: what is told of many findings, when, and that a storm is a handful of messages.

use xdpwatch_core::detect::tuple_reuse::RULE;
use xdpwatch_core::finding::{About, Confidence, Endpoint, Fact, Facts, Finding, State};
use xdpwatch_core::group::{Change, Config, Groups};

const S: u64 = 1_000_000_000;
const SEEDS: [u64; 4] = [1, 2, 3, 4];

fn end(last: [u8; 4], port: u16) -> Endpoint {
    let mut addr = [0; 16];
    addr[10..12].copy_from_slice(&[0xff, 0xff]);
    addr[12..].copy_from_slice(&last);
    Endpoint { addr, port }
}

fn finding(id: u64, at_ns: u64, state: State, severity: u8) -> Finding {
    let mut finding = Finding {
        rule: &RULE,
        state,
        id,
        at_ns,
        began_ns: at_ns,
        about: About::Connection,
        src: end([10, 0, 0, (id % 250) as u8], 40_000),
        dst: end([10, 0, 1, 1], 80),
        vni: 0,
        vlans: Default::default(),
        flow_id: id,
        cause: "paws",
        severity,
        confidence: Confidence { percent: 100, reasons: Default::default() },
        facts: Facts::new(),
        grounds: None,
        evidence: None,
    };
    finding.set("stall_ms", Fact::Number(id as i64));
    finding
}

/// What was told, in short.
#[derive(Debug, PartialEq)]
struct Told {
    at_s: u64,
    state: State,
    revision: u64,
    count: u64,
    open: u64,
    severity: u8,
    has_news: bool,
}

impl Told {
    fn of(change: &Change<'_>) -> Self {
        let tally = &change.group.tally;
        Self {
            at_s: change.at_ns / S,
            state: change.state,
            revision: change.group.revision,
            count: tally.count,
            open: tally.open,
            severity: tally.severity,
            has_news: change.has_news,
        }
    }
}

/// Plays findings, then lets time pass until `until_s`, if not to the end of input.
fn play(findings: &[Finding], until_s: Option<u64>) -> Vec<Told> {
    let mut groups = Groups::new(Config::default(), SEEDS);
    let mut told = Vec::new();
    let mut take = |change: Change<'_>| told.push(Told::of(&change));
    for finding in findings {
        groups.handle(finding, &mut take);
    }
    match until_s {
        Some(until_s) => groups.tick(until_s * S, &mut take),
        None => groups.finish(findings.last().map_or(0, |last| last.at_ns), &mut take),
    }
    told
}

use State::{Firing, Resolved};

#[track_caller]
fn assert_told(told: &[Told], expected: &[(u64, State, u64, u64, u64, u8, bool)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|&(at_s, state, revision, count, open, severity, has_news)| Told {
            at_s,
            state,
            revision,
            count,
            open,
            severity,
            has_news,
        })
        .collect();
    assert_eq!(told, expected);
}

#[test]
fn one_collision_is_told_at_once_and_resolved_after_quiet() {
    let findings = [finding(1, 10 * S, Firing, 2), finding(1, 12 * S, Resolved, 2)];
    let told = play(&findings, Some(1000));
    assert_told(
        &told,
        &[
            (10, Firing, 1, 1, 1, 2, true),
            (70, Firing, 2, 1, 0, 2, true),
            (132, Resolved, 3, 1, 0, 2, false),
        ],
    );
    assert_eq!(play(&findings, Some(131)).len(), 2, "not before");
}

#[test]
fn the_end_of_input_settles_at_once() {
    let findings = [finding(1, 10 * S, Firing, 2), finding(1, 41 * S, Resolved, 1)];
    assert_told(
        &play(&findings, None),
        &[(10, Firing, 1, 1, 1, 2, true), (41, Resolved, 2, 1, 0, 1, true)],
    );
}

#[test]
fn what_gets_worse_is_told_soon() {
    let findings = [finding(1, 10 * S, Firing, 2), finding(1, 20 * S, Resolved, 1)];
    assert_told(
        &play(&findings, Some(1000)),
        &[
            (10, Firing, 1, 1, 1, 2, true),
            (21, Firing, 2, 1, 0, 1, true),
            (140, Resolved, 3, 1, 0, 1, false),
        ],
    );
}

#[test]
fn nothing_is_resolved_while_one_still_fires() {
    let findings = [
        finding(1, 10 * S, Firing, 2),
        finding(2, 11 * S, Firing, 2),
        finding(1, 12 * S, Resolved, 2),
    ];
    let told = play(&findings, Some(80_000));
    assert!(told.iter().all(|told| told.state == Firing && told.at_s <= 70), "{told:?}");
    // A day later nothing is waited for any more, and the open one is said.
    let told = play(&findings, Some(90_000));
    let last = told.last().unwrap();
    assert_eq!((last.at_s, last.state, last.open), (86_412, Resolved, 1));
}

/// One service, 250 clients, `count` findings in `seconds`: messages and findings per second of ours.
fn storm(count: u64, seconds: u64) -> (Vec<Told>, f64) {
    let mut groups = Groups::new(Config::default(), SEEDS);
    let mut told = Vec::new();
    let mut take = |change: Change<'_>| told.push(Told::of(&change));
    let began = std::time::Instant::now();
    for n in 0..count {
        let at_ns = S + n * (seconds * S / count);
        groups.handle(&finding(n, at_ns, Firing, if n == 9000 { 1 } else { 2 }), &mut take);
        if n >= 100 {
            groups.handle(&finding(n - 100, at_ns, Resolved, 2), &mut take);
        }
    }
    let per_s = 2.0 * count as f64 / began.elapsed().as_secs_f64();
    groups.finish((1 + seconds) * S, &mut take);
    (told, per_s)
}

#[test]
fn a_storm_is_a_handful_of_messages() {
    // 100 000 collisions a second; then as many over ten minutes.
    for (seconds, messages) in [(3, 3), (600, 12)] {
        let (told, per_s) = storm(300_000, seconds);
        println!("{} messages in {seconds} s, {per_s:.0} findings/s", told.len());
        assert!(told.len() <= messages, "{told:#?}");
        assert_eq!((told.last().unwrap().count, told.last().unwrap().severity), (300_000, 1));
        assert!(per_s > 200_000.0, "{per_s} findings/s: a storm would not be kept up with");
    }
}

#[test]
fn forged_sources_do_not_make_a_group_each() {
    let mut groups = Groups::new(Config::default(), SEEDS);
    let mut told = Vec::new();
    for n in 0..100_000u32 {
        let mut one = finding(u64::from(n), S + u64::from(n) * 10_000, Firing, 2);
        one.src = end(n.wrapping_mul(2_654_435_761).to_be_bytes(), 40_000);
        groups.handle(&one, &mut |change| told.push(Told::of(&change)));
    }
    assert!(told.len() <= 65, "64 pools and the rest: {}", told.len());
    assert_eq!(groups.standing().map(|group| group.tally.count).sum::<u64>(), 100_000);
    let counts = groups.counts();
    assert_eq!((counts.groups, counts.members_full), (65, 0));
    assert!(counts.overflow > 90_000);
}

#[test]
fn very_many_services_fall_into_their_rules_group() {
    let mut groups = Groups::new(Config::default(), SEEDS);
    for n in 0..40_000u32 {
        let mut one = finding(u64::from(n), S + u64::from(n) * 1000, Firing, 2);
        one.dst = end((0x0a00_0000 + n).to_be_bytes(), 80);
        groups.handle(&one, &mut |_| {});
    }
    assert_eq!(groups.standing().count(), 16_384 + 1);
    let rest = groups.standing().find(|group| group.service.is_none()).unwrap();
    assert_eq!(rest.tally.count, 40_000 - 16_384);
    assert_eq!(groups.counts().overflow, 40_000 - 16_384);
    let mut resolved = 0;
    groups.finish(100 * S, &mut |change| resolved += u32::from(change.state == Resolved));
    assert_eq!(resolved, 16_385);
}

#[test]
fn worst_examples_causes_and_clients() {
    let mut groups = Groups::new(Config::default(), SEEDS);
    let mut group = None;
    for n in 0..20 {
        let mut one = finding(n, (10 + n) * S, Firing, 2);
        one.cause = if n < 12 { "unknown" } else { "sequence" };
        one.set("legs.new.src_ip", Fact::Address(end([9, 9, 9, (n % 7) as u8], 0).addr));
        groups.handle(&one, &mut |_| {});
    }
    // Four of the unknown ones turn out to be something else; one stalled longest of all, and one
    // failed.
    for n in 0..4 {
        let mut one = finding(n, 40 * S, Resolved, if n == 3 { 1 } else { 2 });
        one.cause = "sequence";
        one.set("stall_ms", Fact::Number(if n == 0 { 9000 } else { n as i64 }));
        groups.handle(&one, &mut |_| {});
    }
    groups.finish(50 * S, &mut |change| group = Some(change.group.clone()));
    let tally = group.unwrap().tally;
    assert_eq!((tally.count, tally.open, tally.severity), (20, 16, 1));
    assert_eq!(tally.cause(), ("sequence", 12));
    let worst: Vec<_> = tally.worst.iter().map(|one| one.id).collect();
    assert_eq!(worst, [3, 0, 19, 18, 17]);
    let clients: Vec<_> = tally.clients().iter().map(|(addr, n)| (addr[15], *n)).collect();
    assert_eq!(clients, [(0, 3), (1, 3), (2, 3), (3, 3), (4, 3)]);
}

#[test]
fn ids_are_of_the_episode_and_keys_of_the_identity() {
    let mut groups = Groups::new(Config::default(), SEEDS);
    let mut seen = Vec::new();
    for n in [1, 2] {
        let at_ns = n * 1000 * S;
        let mut take = |change: Change<'_>| seen.push((change.group.key, change.group.id));
        let id = groups.handle(&finding(n, at_ns, Firing, 2), &mut take);
        assert_eq!(groups.handle(&finding(n, at_ns + S, Resolved, 2), &mut take), id);
        groups.tick(at_ns + 500 * S, &mut take);
    }
    assert_eq!(seen.len(), 6);
    assert!(seen.iter().all(|(key, _)| *key == seen[0].0));
    assert_ne!(seen[0].1, seen[3].1);
    // They leave the process: they stay what they are.
    assert_eq!(seen[0], (5_694_943_561_536_041_586, 8_640_143_041_412_900_974));
}

#[test]
fn ticks_change_nothing_but_when_it_is_told() {
    let findings: Vec<_> = (0..200u64)
        .flat_map(|n| {
            let at_ns = (1 + n * 7) * S;
            [finding(n, at_ns, Firing, 2), finding(n, at_ns + S, Resolved, (1 + n % 3) as u8)]
        })
        .collect();
    let expected = play(&findings, None);
    let mut groups = Groups::new(Config::default(), SEEDS);
    let mut told = Vec::new();
    let mut take = |change: Change<'_>| told.push(Told::of(&change));
    let mut now_ns = 0;
    for finding in &findings {
        while now_ns < finding.at_ns {
            groups.tick(now_ns, &mut take);
            now_ns += S / 3;
        }
        groups.handle(finding, &mut take);
    }
    groups.finish(findings.last().unwrap().at_ns, &mut take);
    assert_eq!(told, expected);
}

/// As `port_pressure` does it: foretold, then true, then worse.
#[test]
fn a_finding_that_fires_again_with_another_cause_is_counted_with_its_last() {
    let mut groups = Groups::new(Config::default(), SEEDS);
    let mut causes = Vec::new();
    let mut take = |change: Change<'_>| causes.push(change.group.tally.cause());
    for (at_s, cause, state, severity) in [
        (1, "ports_forecast", State::Firing, 2),
        (2, "ports_held", State::Firing, 2),
        (3, "ports_held", State::Firing, 1),
        (4, "ports_held", State::Resolved, 1),
    ] {
        let again = finding(7, at_s * S, state, severity);
        groups.handle(&Finding { cause, ..again }, &mut take);
    }
    groups.finish(5 * S, &mut take);
    assert_eq!(causes.first(), Some(&("ports_forecast", 1)));
    assert_eq!(causes.last(), Some(&("ports_held", 1)));
}

#[test]
fn other_intervals_count_from_now_on_and_groups_keep_their_ids() {
    let mut groups = Groups::new(Config::default(), SEEDS);
    let mut told = Vec::new();
    let id = groups.handle(&finding(1, 10 * S, Firing, 2), &mut |_| {});
    groups.handle(&finding(2, 11 * S, Firing, 2), &mut |_| {});
    let mut take = |change: Change<'_>| told.push((change.group.id, Told::of(&change)));
    let short = Config { interval_ns: 5 * S, quiet_ns: 20 * S, ..Config::default() };
    groups.retune(short, 30 * S, &mut take);
    // The news of 11 s would have been due at 15 s by the new interval: nothing is told in the past.
    groups.tick(30 * S, &mut take);
    groups.handle(&finding(1, 31 * S, Resolved, 2), &mut take);
    groups.handle(&finding(2, 32 * S, Resolved, 2), &mut take);
    groups.tick(100 * S, &mut take);
    assert!(told.iter().all(|(told_id, _)| *told_id == id), "{told:#?}");
    let told: Vec<_> = told.into_iter().map(|(_, told)| told).collect();
    assert_told(
        &told,
        &[
            (30, Firing, 2, 2, 2, 2, true),
            (35, Firing, 3, 2, 0, 2, true),
            (52, Resolved, 4, 2, 0, 2, false),
        ],
    );
}
