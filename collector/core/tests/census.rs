//! The census, from packet scripts: who stands where, second by second.

use xdpwatch_core::aggregate::Aggregate;
use xdpwatch_core::census::{Row, STATES};
use xdpwatch_core::detect::Limits;
use xdpwatch_core::watch::{Config, Watch};
use xdpwatch_tools::script::{self, Kind};

const SEEDS: [u64; 4] = [1, 2, 3, 4];

const HANDSHAKE: &str = "
a = 10.0.0.1:40000
c = 10.0.0.1:40001
b = 10.0.0.2:80
+0     a > b  S   1000:1000(0)            <ts 100 0>
+.001  b > a  S.  9000:9000(0)  ack 1001  <ts 900 100>
+.001  a > b  .   1001:1001(0)  ack 9001  <ts 101 900>
";

const CLOSE: &str = "
@1     b > a  F.  9001:9001(0)  ack 1001  <ts 1900 101>
+.001  a > b  .   1001:1001(0)  ack 9002  <ts 1101 1900>
@2     a > b  F.  1001:1001(0)  ack 9002  <ts 2101 1900>
+.001  b > a  .   9002:9002(0)  ack 1002  <ts 2901 2101>
";

/// Services and sources after the script, `seconds` after its beginning, as `state count` words.
fn census(script: &str, seconds: u64) -> (String, String) {
    let mut watch = Watch::new(Config {
        max_tuples: 4096,
        horizon_ns: 300_000_000_000,
        seeds: SEEDS,
        ..Config::default()
    });
    let mut aggregate = Aggregate::new(&Limits::default(), SEEDS);
    let mut out = Vec::new();
    for line in script::parse(script).expect("a script") {
        if let Kind::Segment(record) = line.kind {
            watch.observe(&[*record], &mut out);
        }
    }
    out.drain(..).for_each(|output| aggregate.handle(&output, &mut |_| {}));
    let census = aggregate.census(script::BEGIN_NS + seconds * 1_000_000_000);
    (words(&census.services, 80), words(&census.sources, 0))
}

fn words(rows: &[Row], port: u16) -> String {
    assert!(rows.len() <= 1 && rows.iter().all(|row| row.end.port == port), "{rows:?}");
    let counts = rows.iter().flat_map(|row| STATES.into_iter().zip(row.states));
    counts.filter(|(_, count)| *count > 0).map(|(name, count)| format!("{name} {count} ")).collect()
}

#[track_caller]
fn stands(script: &str, seconds: u64, expected: &str) {
    let (services, sources) = census(script, seconds);
    assert_eq!(services.trim(), expected, "the service's");
    assert_eq!(sources.trim(), expected, "the source's");
}

#[test]
fn each_state_is_counted_while_it_lasts() {
    stands(HANDSHAKE, 1, "established 1");
    let close: Vec<&str> = CLOSE.lines().collect();
    let upto = |n: usize| HANDSHAKE.to_owned() + &close[..n].join("\n");
    stands(&upto(2), 2, "fin_wait1 1");
    stands(&upto(3), 2, "fin_wait2_server 1");
    stands(&upto(4), 2, "last_ack 1");
    stands(&upto(5), 2, "time_wait_server 1");
}

#[test]
fn time_wait_ends_by_its_timer() {
    let script = HANDSHAKE.to_owned() + CLOSE;
    stands(&script, 61, "time_wait_server 1");
    stands(&script, 64, "");
}

#[test]
fn a_repeated_fin_sets_the_timer_anew() {
    let again = "@12 a > b F. 1001:1001(0) ack 9002 <ts 12101 1900>\n";
    let script = HANDSHAKE.to_owned() + CLOSE + again;
    stands(&script, 13, "time_wait_server 1");
    stands(&script, 71, "time_wait_server 1");
    stands(&script, 74, "");
}

#[test]
fn a_new_connection_frees_its_tuple_and_a_reset_leaves_nothing() {
    let anew = "
@9     a > b  S   5000000:5000000(0)      <ts 9101 0>
+.001  b > a  S.  900000:900000(0) ack 5000001 <ts 9901 9101>
+.001  a > b  .   5000001:5000001(0) ack 900001 <ts 9102 9901>
";
    let script = HANDSHAKE.to_owned() + CLOSE + anew;
    stands(&script, 10, "established 1");
    let reset = script + "+1 a > b R. 5000001:5000001(0) ack 900001\n";
    stands(&reset, 11, "");
}

#[test]
fn a_lone_syn_is_a_handshake_and_the_mirrors_copies_change_nothing() {
    stands("a = 10.0.0.1:1\nb = 10.0.0.2:80\n+0 a > b S 1:1(0)\n", 1, "syn_sent 1");
    let copied: String =
        (HANDSHAKE.to_owned() + CLOSE).lines().fold(String::new(), |text, line| {
            let copy = if line.starts_with(['+', '@']) { "+.0001 * ttl 63\n" } else { "" };
            text + line + "\n" + copy
        });
    stands(&copied, 3, "time_wait_server 1");
}
