//! What the capture says of the feed becomes an alert, and is taken back once it is clean again.

use xdpwatch_core::aggregate::Aggregate;
use xdpwatch_core::detect::{FeedFacts, Limits};
use xdpwatch_core::finding::{Fact, State};

#[test]
fn loss_fires_and_is_resolved_after_three_clean_reports() {
    let mut aggregate = Aggregate::new(&Limits::default(), [1, 2, 3, 4]);
    let mut said = Vec::new();
    let reports = [(1000, 0), (980, 20), (900, 100), (1000, 0), (1000, 9), (1000, 0), (5, 5)];
    for (n, (taken, lost)) in reports.into_iter().enumerate() {
        let at_ns = 1_700_000_000_000_000_000 + n as u64 * 1_000_000_000;
        aggregate.feed(&FeedFacts { at_ns, taken, lost }, &mut |finding| {
            said.push((n, finding.state, finding.severity, finding.fact("share")));
        });
    }
    assert_eq!(
        said,
        [
            (1, State::Firing, 2, Some(Fact::Number(2))),
            (5, State::Resolved, 2, Some(Fact::Number(0)))
        ]
    );
}
