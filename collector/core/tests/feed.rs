//! What the capture says of the feed becomes an alert, and is taken back once it is clean again.

use xdpwatch_core::aggregate::Aggregate;
use xdpwatch_core::detect::{FeedFacts, Limits};
use xdpwatch_core::finding::{Fact, Finding, State};
use xdpwatch_core::watch::{Config, Watch};
use xdpwatch_prog::record::{Record, flags};

const BEGIN_NS: u64 = 1_700_000_000_000_000_000;

#[test]
fn loss_fires_and_is_resolved_after_three_clean_windows() {
    let mut watch = Watch::new(Config::default());
    let mut aggregate = Aggregate::new(&Limits::default(), [1, 2, 3, 4]);
    let (mut out, mut said) = (Vec::new(), Vec::new());
    // The window of 10 s that begins with each.
    let windows = [0, 9_000, 20_000, 100_000, 0, 9_999, 0, 0];
    for (n, loss_ppm) in windows.into_iter().enumerate() {
        let at_ns = BEGIN_NS + n as u64 * 10_000_000_000 + 1_000_000;
        let syn =
            Record { at_ns, src_port: 1000 + n as u16, flags: flags::SYN, ..Record::default() };
        watch.observe(&[syn], &mut out);
        let mut say = |finding: Finding| {
            let second = (finding.at_ns - BEGIN_NS) / 1_000_000_000;
            said.push((second, finding.state, finding.severity, finding.fact("share")));
        };
        out.drain(..).for_each(|output| aggregate.handle(&output, &mut say));
        aggregate.feed(FeedFacts { loss_ppm, ..FeedFacts::default() });
    }
    assert_eq!(
        said,
        [
            (30, State::Firing, 2, Some(Fact::Number(2))),
            (70, State::Resolved, 2, Some(Fact::Number(0)))
        ]
    );
}

/// The two directions of each connection reach different workers, which share nothing.
fn split_feed(share_percent: u64) -> Vec<(State, u8, Option<Fact>, Option<Fact>)> {
    let mut workers = [Watch::new(Config::default()), Watch::new(Config::default())];
    let mut aggregate = Aggregate::new(&Limits::default(), [1, 2, 3, 4]);
    let (mut out, mut said) = (Vec::new(), Vec::new());
    let mut say = |finding: Finding| {
        if finding.rule.name == "mirror_fault" {
            let (kind, share) = (finding.fact("kind"), finding.fact("share"));
            said.push((finding.state, finding.severity, kind, share));
        }
    };
    for n in 0..100 {
        let split = usize::from(n % 100 < share_percent);
        let at_ns = BEGIN_NS + n * 100_000_000;
        let (client, server) = (([1; 16], 1000 + n as u16), ([2; 16], 80));
        let of = |from: ([u8; 16], u16), to: ([u8; 16], u16), later_ns, flags, seq, ack| Record {
            at_ns: at_ns + later_ns,
            src_addr: from.0,
            src_port: from.1,
            dst_addr: to.0,
            dst_port: to.1,
            flags,
            seq,
            ack,
            ..Record::default()
        };
        for (worker, record) in [
            (0, of(client, server, 0, flags::SYN, 100, 0)),
            (split, of(server, client, 1_000_000, flags::SYN | flags::ACK, 900, 101)),
            (0, of(client, server, 2_000_000, flags::ACK, 101, 901)),
            (split, of(server, client, 3_000_000, flags::ACK, 901, 101)),
        ] {
            workers[worker].observe(&[record], &mut out);
            out.drain(..).for_each(|output| aggregate.handle(&output, &mut say));
        }
    }
    aggregate.finish(BEGIN_NS + 30_000_000_000, &mut say);
    said
}

#[test]
fn directions_in_different_workers_are_asymmetric_queues() {
    let said = split_feed(60);
    let kind = Some(Fact::Word("asymmetric_queues"));
    let [(State::Firing, 2, fired, share), (State::Resolved, ..)] = said[..] else {
        panic!("one alert: {said:?}")
    };
    assert_eq!((fired, share), (kind, Some(Fact::Number(75))), "two halves for each that is split");
    assert_eq!(split_feed(0), []);
    assert_eq!(split_feed(5), []);
}
