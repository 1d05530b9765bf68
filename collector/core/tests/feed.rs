//! What the capture says of the feed becomes an alert, and is taken back once it is clean again.

use xdpwatch_core::aggregate::Aggregate;
use xdpwatch_core::detect::{FeedFacts, Limits};
use xdpwatch_core::finding::{Fact, State};
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
        let mut say = |finding: xdpwatch_core::finding::Finding| {
            let second = (finding.at_ns - BEGIN_NS) / 1_000_000_000;
            said.push((second, finding.state, finding.severity, finding.fact("share")));
        };
        out.drain(..).for_each(|output| aggregate.handle(output, &mut say));
        aggregate.feed(FeedFacts { loss_ppm });
    }
    assert_eq!(
        said,
        [
            (30, State::Firing, 2, Some(Fact::Number(2))),
            (70, State::Resolved, 2, Some(Fact::Number(0)))
        ]
    );
}
