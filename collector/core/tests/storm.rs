//! A storm of 100 000 collisions a second against exact counting: a handful of messages, right counts,
//! the right worst, the right clients within the stated bound, and memory that does not grow with it.

use std::collections::HashMap;

use xdpwatch_core::detect::tuple_reuse::RULE;
use xdpwatch_core::finding::{About, Confidence, Endpoint, Fact, Facts, Finding, State};
use xdpwatch_core::group::{Change, Config, Group, Groups};

const S: u64 = 1_000_000_000;
const PER_S: u64 = 100_000;
const SECONDS: u64 = 5;
const SERVICES: u64 = 3;
const CLIENTS: u64 = 4000;

/// As often as this share of a group's findings, a client may be counted too often: 32 are counted.
const COUNTED: u64 = 32;

/// A collision is over after so many others.
const OPEN: u64 = 3 * PER_S;

fn end(last: u32, port: u16) -> Endpoint {
    Endpoint { addr: std::net::Ipv4Addr::from(last).to_ipv6_mapped().octets(), port }
}

/// Numbers that look random and are the same for the same `n`.
fn dice(n: u64) -> u64 {
    let mixed = (n ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ mixed >> 31).wrapping_mul(0x94d0_49bb_1331_11eb) >> 16
}

/// Few clients are hurt often, many seldom: a quarter of all falls to the first, a quarter of the rest
/// to the second, and so on for eight of them.
fn client(n: u64) -> u32 {
    let dice = dice(n);
    let heavy = (0..8).find(|nth| dice >> (2 * nth) & 3 == 0);
    0xc0a8_0000 + heavy.unwrap_or_else(|| 8 + dice % (CLIENTS - 8)) as u32
}

fn stall_ms(n: u64) -> i64 {
    (dice(n + 7) % 30_000) as i64
}

/// Collision `n`, from a balancer's four addresses; its client is on the other leg.
fn collision(n: u64, at_ns: u64, state: State) -> Finding {
    let mut finding = Finding {
        rule: &RULE,
        state,
        id: n,
        at_ns,
        began_ns: S + n * S / PER_S,
        about: About::Connection,
        src: end(0x0a00_0001 + (n % 4) as u32, (1024 + n % 60_000) as u16),
        dst: end(0x0a00_0100 + (n % SERVICES) as u32, 80),
        vni: 0,
        vlans: Default::default(),
        flow_id: n,
        cause: if n % 10 < 7 { "paws" } else { "sequence" },
        severity: 2,
        confidence: Confidence { percent: 100, reasons: Default::default() },
        facts: Facts::new(),
        grounds: None,
        evidence: None,
    };
    let stall_ms = if state == State::Firing { 0 } else { stall_ms(n) };
    finding.set("stall_ms", Fact::Number(stall_ms));
    finding.set("legs.new.src_ip", Fact::Address(end(client(n), 0).addr));
    finding
}

/// The most memory that this process had, kB.
fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_storm_is_told_in_a_handful_of_messages_with_the_right_numbers() {
    let total = PER_S * SECONDS;
    let mut groups = Groups::new(Config::default(), [1, 2, 3, 4]);
    let (mut messages, mut last) = (0, HashMap::new());
    let mut take = |change: Change<'_>| {
        messages += 1;
        last.insert(change.group.service, change.group.clone());
    };
    let mut settled_kb = 0;
    for n in 0..total + OPEN {
        let at_ns = S + n * S / PER_S;
        if n < total {
            groups.handle(&collision(n, at_ns, State::Firing), &mut take);
        }
        if let Some(over) = n.checked_sub(OPEN) {
            groups.handle(&collision(over, at_ns, State::Resolved), &mut take);
        }
        if n == 2 * PER_S {
            settled_kb = peak_kb();
        }
    }
    let grown_kb = peak_kb() - settled_kb;
    groups.finish(S + (total + OPEN) * S / PER_S, &mut take);
    println!(
        "{messages} messages of {total} collisions, {settled_kb} kB, {grown_kb} kB more after"
    );
    assert!(messages <= 3 * SERVICES, "{messages} messages");
    assert!(settled_kb < 200_000 && grown_kb < 10_000, "{settled_kb} kB, then {grown_kb} more");
    assert_eq!(last.len() as u64, SERVICES);
    for service in 0..SERVICES {
        let of_service = || (0..total).filter(move |n| n % SERVICES == service);
        let group = &last[&Some(end(0x0a00_0100 + service as u32, 80))];
        assert_exact(group, of_service().collect::<Vec<_>>().as_slice());
    }
}

/// Holds what the group says against all of its collisions.
fn assert_exact(group: &Group, all: &[u64]) {
    let tally = &group.tally;
    assert_eq!(tally.count, all.len() as u64);
    let paws = all.iter().filter(|n| **n % 10 < 7).count() as u64;
    assert_eq!(tally.cause(), ("paws", paws));
    let mut stalls: Vec<(i64, u64)> = all.iter().map(|n| (stall_ms(*n), *n)).collect();
    stalls.sort_by_key(|(stall, n)| (-stall, *n));
    let worst: Vec<_> = tally.worst.iter().map(|one| (one.stall_ms, one.id)).collect();
    assert_eq!(worst, stalls[..worst.len()]);

    let mut exact: HashMap<[u8; 16], u64> = HashMap::new();
    for n in all {
        *exact.entry(end(client(*n), 0).addr).or_default() += 1;
    }
    let shown = tally.clients();
    let bound = tally.count / COUNTED;
    for (addr, count) in &shown {
        let (true_count, count) = (exact[addr], *count);
        assert!(
            (true_count..=true_count + bound).contains(&count),
            "{addr:?}: {count} for {true_count}, bound {bound}"
        );
    }
    let least = shown.last().unwrap().1;
    for (addr, count) in exact {
        let named = shown.iter().any(|(known, _)| *known == addr);
        assert!(named || count <= least, "{addr:?} was hurt {count} times and is not named");
    }
    println!(
        "clients of one group: {:?}",
        shown.iter().map(|(_, count)| count).collect::<Vec<_>>()
    );
}
