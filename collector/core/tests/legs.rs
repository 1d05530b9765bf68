//! Joins of a balancer's two legs against the truth: at least 99 of 100 joins claimed must be right,
//! whatever share of all is found. The figures are printed (`--nocapture`).

mod balancer;

use balancer::{BEGIN_US, Dice, Traffic, end};
use xdpwatch_core::detect::Limits;
use xdpwatch_core::finding::Fact;
use xdpwatch_core::legs::{Given, Leg};
use xdpwatch_core::prefix::Prefix;

const VIP: u32 = 51;
const PROXY: u32 = 249;

fn front(dice: &mut Dice) -> Leg {
    Leg {
        client: end(0x1_0000 + dice.below(5_000) as u32, dice.client_port()),
        server: end(VIP, 80),
    }
}

fn back(dice: &mut Dice, port: u16) -> Leg {
    Leg { client: end(PROXY, port), server: end(20 + dice.below(4) as u32, 8080) }
}

/// A balancer that passes SYNs on with the client's port; `keeps_numbers`: and with its numbers.
fn port_preserving(seed: u64, per_s: f64, seconds: u64, keeps_numbers: bool) -> Traffic {
    let (mut dice, mut traffic) = (Dice(seed), Traffic::default());
    let mut at_us = BEGIN_US;
    while at_us < BEGIN_US + seconds * 1_000_000 {
        at_us += 1 + dice.wait_us(1e6 / per_s);
        let front = front(&mut dice);
        let back = back(&mut dice, front.client.port);
        let isn = dice.roll() as u32 | 1;
        let own = if keeps_numbers { isn } else { dice.roll() as u32 };
        let (rtt_us, life_us) = (1_000 + dice.wait_us(10_000.0), dice.wait_us(30_000.0));
        traffic.connection(front, isn, at_us, rtt_us, life_us);
        traffic.joined(front, back, own, at_us + 20 + dice.wait_us(100.0), life_us);
    }
    traffic
}

#[test]
fn port_preserving_without_timestamps_is_joined_by_the_sequence_number() {
    for per_s in [100.0, 2000.0] {
        let score = port_preserving(1, per_s, 10, true).judge(&format!("sequence, {per_s}/s"));
        assert!(score.precision() >= 0.99 && score.recall() >= 0.99, "{score}");
    }
}

#[test]
fn ports_of_its_own_with_the_clients_numbers_are_joined_by_the_sequence_number() {
    for per_s in [100.0, 20_000.0] {
        let (mut dice, mut traffic) = (Dice(6), Traffic::default());
        let mut at_us = BEGIN_US;
        for _ in 0..20_000 {
            at_us += 1 + dice.wait_us(1e6 / per_s);
            let front = front(&mut dice);
            let port = dice.client_port();
            let back = back(&mut dice, port);
            let isn = dice.roll() as u32;
            traffic.connection(front, isn, at_us, 2_000, 9_000);
            traffic.joined(front, back, isn, at_us + 20 + dice.wait_us(100.0), 9_000);
        }
        let score = traffic.judge(&format!("ports of its own, sequence, {per_s}/s"));
        assert!(score.precision() >= 0.99 && score.recall() >= 0.99, "{score}");
    }
}

/// Scanners send one number to many services, floods one from many addresses.
#[test]
fn one_number_from_one_or_to_one_joins_nothing() {
    let mut traffic = Traffic::default();
    for n in 0..4_000u32 {
        let (client, server) = if n < 2_000 { (9, 1_000 + n) } else { (1_000 + n, 9) };
        let leg = Leg { client: end(client, 32_768 + n as u16), server: end(server, 80) };
        // The two are a second apart.
        let at_us = BEGIN_US + u64::from(n) * 100 + if n < 2_000 { 0 } else { 1_000_000 };
        traffic.lonely(leg, 900, at_us, 200);
    }
    let score = traffic.judge("one number from one, then to one");
    assert_eq!(score.wrong, 0, "{score}");
}

/// Scanners may also keep one port, and floods send from one.
#[test]
fn one_number_and_one_port_from_one_or_to_one_joins_nothing() {
    let mut traffic = Traffic::default();
    for n in 0..4_000u32 {
        let (client, server) = if n < 2_000 { (9, 1_000 + n) } else { (1_000 + n, 9) };
        let leg = Leg { client: end(client, 50_000), server: end(server, 80) };
        let at_us = BEGIN_US + u64::from(n) * 100 + if n < 2_000 { 0 } else { 1_000_000 };
        traffic.refused(leg, 900, at_us);
    }
    let score = traffic.judge("one number and one port from one, then to one");
    assert_eq!(score.wrong, 0, "{score}");
}

/// A health check calls its servers in turn by a port that it has bound.
#[test]
fn one_port_to_a_few_in_turn_joins_nothing() {
    let (mut dice, mut traffic) = (Dice(11), Traffic::default());
    for n in 0..2_000u64 {
        let leg = Leg { client: end(9, 50_000), server: end(20 + (n % 2) as u32, 80) };
        traffic.refused(leg, dice.roll() as u32 >> 1, BEGIN_US + n / 2 * 20_000 + n % 2 * 100);
    }
    let score = traffic.judge("one port to two in turn");
    assert_eq!(score.wrong, 0, "{score}");
}

#[test]
fn port_preserving_with_numbers_of_its_own_is_joined_by_port_and_timing() {
    for per_s in [100.0, 2000.0, 20_000.0] {
        let name = format!("port and timing, {per_s}/s");
        let score = port_preserving(2, per_s, 4, false).judge(&name);
        assert!(score.precision() >= 0.99, "{score}");
        let least = if per_s > 10_000.0 { 0.5 } else { 0.9 };
        assert!(score.recall() >= least, "{score}");
    }
}

#[test]
fn a_full_proxy_that_keeps_ports_is_joined_after_the_handshake() {
    let (mut dice, mut traffic) = (Dice(3), Traffic::default());
    let mut at_us = BEGIN_US;
    for _ in 0..4_000 {
        at_us += 1 + dice.wait_us(1_000.0);
        let front = front(&mut dice);
        let back = back(&mut dice, front.client.port);
        let rtt_us = 500 + dice.wait_us(40_000.0);
        let open_us = traffic.connection(front, dice.roll() as u32, at_us, rtt_us, 50_000);
        traffic.joined(front, back, dice.roll() as u32, open_us + 50 + dice.wait_us(500.0), 9_000);
    }
    let score = traffic.judge("full proxy that keeps ports, 1000/s");
    assert!(score.precision() >= 0.99 && score.recall() >= 0.9, "{score}");
}

/// What an operator would tell of the balancer.
fn told() -> Limits {
    let host = |last| Prefix::new(end(last, 0).addr, 128);
    let servers = (20..24).map(|last| (host(last), Some(8080))).collect();
    let balancers = Given { vips: vec![end(VIP, 80)], source_nat: vec![host(PROXY)], servers };
    Limits { balancers, ..Limits::default() }
}

#[test]
fn a_configured_balancer_needs_no_learning() {
    let few = || {
        let (mut dice, mut traffic) = (Dice(7), Traffic::default());
        for n in 0..4 {
            let (front, at_us) = (front(&mut dice), BEGIN_US + n * 100_000);
            let back =
                Leg { server: end(20 + n as u32, 8080), ..back(&mut dice, front.client.port) };
            traffic.connection(front, dice.roll() as u32, at_us, 20_000, 30_000);
            traffic.joined(front, back, dice.roll() as u32, at_us + 50, 30_000);
        }
        traffic
    };
    assert_eq!(few().judge("four connections, learned").right, 0);
    let score = few().judge_given("four connections, configured", &told());
    assert_eq!((score.right, score.wrong, score.missed), (4, 0, 0));
}

/// Of 20 000 a second, others' requests are four in five: knowing the balancer leaves its own.
#[test]
fn a_configured_balancer_is_joined_among_much_other_traffic() {
    let crowd = || {
        let mut traffic = port_preserving(8, 2_000.0, 4, false);
        let mut dice = Dice(9);
        for n in 0..72_000 {
            let server = end(60 + n % 7, 443);
            let leg = Leg { server, ..front(&mut dice) };
            traffic.lonely(leg, dice.roll() as u32, BEGIN_US + u64::from(n) * 55, 2_000);
        }
        traffic
    };
    let learned = crowd().judge("in a crowd, learned");
    let score = crowd().judge_given("in a crowd, configured", &told());
    assert!(score.precision() >= 0.99 && score.recall() > learned.recall(), "{learned}; {score}");
    assert!(score.recall() >= 0.95, "{score}");
}

/// Two services that have nothing to do with each other: agreeing ports are chance.
#[test]
fn unrelated_services_are_not_joined() {
    let (mut dice, mut traffic) = (Dice(4), Traffic::default());
    let mut at_us = BEGIN_US;
    for n in 0..40_000u32 {
        at_us += 1 + dice.wait_us(250.0);
        let leg = if n % 2 == 0 {
            front(&mut dice)
        } else {
            let port = dice.client_port();
            back(&mut dice, port)
        };
        traffic.lonely(leg, dice.roll() as u32, at_us, 300 + dice.wait_us(5_000.0));
    }
    let score = traffic.judge("unrelated services, 4000/s");
    assert_eq!(score.wrong, 0, "{score}");
}

/// A full proxy with ports of its own, that opens a connection when the request has come: mostly at once
/// after the handshake, one in `late` late; its health checks go to each server every two seconds.
fn full_proxy(seed: u64, per_s: f64, seconds: u64, late: u64) -> Traffic {
    let (mut dice, mut traffic) = (Dice(seed), Traffic::default());
    let mut at_us = BEGIN_US;
    while at_us < BEGIN_US + seconds * 1_000_000 {
        at_us += 1 + dice.wait_us(1e6 / per_s);
        let front = front(&mut dice);
        let rtt_us = 500 + dice.wait_us(20_000.0);
        let open_us = traffic.connection(front, dice.roll() as u32, at_us, rtt_us, 60_000);
        let tardy = if dice.below(late) == 0 { dice.wait_us(5_000.0) } else { 0 };
        let port = dice.client_port();
        let back = back(&mut dice, port);
        let sent_us = open_us + 60 + dice.wait_us(40.0) + tardy;
        traffic.joined(front, back, dice.roll() as u32, sent_us, 9_000);
    }
    for n in 0..2 * seconds {
        let leg =
            Leg { client: end(PROXY, dice.client_port()), server: end(20 + n as u32 % 4, 8080) };
        traffic.lonely(leg, dice.roll() as u32, BEGIN_US + n * 500_000 + dice.below(1000), 200);
    }
    traffic
}

#[test]
fn a_full_proxy_is_joined_by_timing_where_that_is_sure() {
    for (per_s, seconds, late, least) in [
        (100.0, 60, 20, 0.6),
        (2000.0, 10, 20, 0.01),
        (100.0, 60, 200, 0.7),
        (2000.0, 10, 200, 0.03),
    ] {
        let name = format!("full proxy, {per_s}/s, one in {late} late");
        let score = full_proxy(5, per_s, seconds, late).judge(&name);
        assert!(score.precision() >= 0.99 || score.right + score.wrong == 0, "{score}");
        assert!(score.recall() >= least, "{score}");
    }
}

/// Half-closed connections hang for hours, joins are remembered for as many as there is room.
#[test]
fn a_half_closed_pair_is_named_after_its_join_was_forgotten() {
    let (mut dice, mut traffic) = (Dice(12), Traffic::default());
    let (front_leg, back_leg) = (front(&mut dice), back(&mut dice, 40_000));
    traffic.half_closed(front_leg, back_leg, 77, BEGIN_US);
    for n in 0..70_000u64 {
        let front = front(&mut dice);
        let back = back(&mut dice, front.client.port);
        let (isn, at_us) = (dice.roll() as u32 | 1, BEGIN_US + 1_000_000 + n * 700);
        traffic.connection(front, isn, at_us, 1_000, 2_000);
        traffic.joined(front, back, isn, at_us + 20, 2_000);
    }
    let findings = traffic.findings(BEGIN_US + 70_000_000);
    let pair = findings.iter().filter(|one| {
        one.rule.name == "half_closed"
            && one.fact("other_leg.half_closed") == Some(Fact::Flag(true))
    });
    assert_eq!(pair.count(), 2, "of {} findings", findings.len());
}
