//! Rounds over built traffic: whatever the borders, the sum is what one comparison of all says.

use super::*;
use xdpwatch_core::finding::Endpoint;

const SECOND_NS: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;
const START_NS: u64 = 1_700_000_000 * SECOND_NS;
const CLIENT: u8 = 1;
const SERVER: u8 = 2;

fn end(host: u8, port: u16) -> Endpoint {
    let mut addr = [0; 16];
    addr[15] = host;
    Endpoint { addr, port }
}

/// The n-th segment of a connection's one direction.
fn segment(n: u32, port: u16, from_client: bool, flags: u8) -> Segment {
    let (client, server) = (end(CLIENT, port), end(SERVER, 80));
    let (src, dst) = if from_client { (client, server) } else { (server, client) };
    Segment { src, dst, seq: n, ack: 1, timestamps: None, payload_len: 0, flags }
}

/// Times and segments of each point: an ACK each way per 10 ms, 3 ms of path, except what `is_lost`.
fn traffic(seconds: u64, is_lost: impl Fn(u32, bool) -> bool) -> [Vec<Sight>; 2] {
    let mut sights: [Vec<Sight>; 2] = Default::default();
    for n in 0..(seconds * 100) as u32 {
        for from_client in [true, false] {
            let sent_ns = START_NS + u64::from(n) * 10 * MS + if from_client { 0 } else { 5 * MS };
            let near = usize::from(!from_client);
            let segment = segment(n, 40_000, from_client, 0x10);
            sights[near].push(Sight { at_ns: sent_ns, segment });
            if !is_lost(n, from_client) {
                sights[1 - near].push(Sight { at_ns: sent_ns + 3 * MS, segment });
            }
        }
    }
    sights.iter_mut().for_each(|sights| sights.sort_by_key(|sight| sight.at_ns));
    sights
}

fn rounds(places: usize) -> Rounds {
    let begin_ns = START_NS - SECOND_NS;
    Rounds::new(["near".to_owned(), "far".to_owned()], begin_ns, places, None)
}

/// All of it in rounds that end at these times after the start, and at the end, milliseconds.
fn compared(sights: &[Vec<Sight>; 2], round_ends_ms: &[u64], end_ms: u64) -> Vec<Comparison> {
    let mut rounds = rounds(1 << 20);
    let mut from_ns = 0;
    let mut told = Vec::new();
    for (n, end) in round_ends_ms.iter().chain([&end_ms]).enumerate() {
        let until_ns = START_NS + end * MS;
        let part = sights.each_ref().map(|sights| {
            let due = sights.iter().filter(|sight| (from_ns..until_ns).contains(&sight.at_ns));
            due.copied().collect::<Vec<_>>()
        });
        from_ns = until_ns;
        let end_ns = (n == round_ends_ms.len()).then_some(until_ns);
        let window = Window { sights: part, reached_ns: until_ns, end_ns, ..Window::default() };
        told.push(rounds.compare(window).comparison);
    }
    told
}

fn lost(told: &[Comparison], seen_at: Point) -> u64 {
    let groups = told.iter().flat_map(|comparison| &comparison.lost);
    groups.filter(|group| group.seen_at == seen_at).map(|group| group.count).sum()
}

fn sum(told: &[Comparison], count: impl Fn(&Comparison) -> u64) -> u64 {
    told.iter().map(count).sum()
}

#[test]
fn borders_neither_lose_nor_count_twice() {
    let sights = traffic(10, |n, from_client| n % 7 == if from_client { 3 } else { 5 });
    let lost_of_client = (0..1000).filter(|n| n % 7 == 3).count() as u64;
    let lost_of_server = (0..1000).filter(|n| n % 7 == 5).count() as u64;
    for step in [37, 100, 203, 999, 2500, 9999] {
        let ends: Vec<u64> = (1..).map(|n| n * step).take_while(|end| *end < 11_000).collect();
        let told = compared(&sights, &ends, 11_000);
        assert_eq!((lost(&told, 0), lost(&told, 1)), (lost_of_client, lost_of_server), "{step}");
        assert_eq!(sum(&told, |one| one.counts.matched), 2000 - lost_of_client - lost_of_server);
        assert_eq!(sum(&told, |one| one.counts.outside + one.counts.elsewhere), 0, "{step}");
        assert_eq!(sum(&told, |one| one.not_captured[0] + one.not_captured[1]), 0, "{step}");
        for pair in told.windows(2) {
            let from_ns = pair[1].watched.unwrap().from_ns;
            assert!(from_ns >= pair[0].watched.unwrap().from_ns, "time goes on");
        }
    }
}

#[test]
fn one_clock_has_no_offset_and_says_what_the_path_takes() {
    let told = compared(&traffic(3, |_, _| false), &[], 4000);
    let Comparison { clock, watched, .. } = &told[0];
    assert_eq!((clock.offset_ns, clock.drift_ppb, clock.path_ns), (0, None, Some(3 * MS)));
    assert_eq!(watched.unwrap().later_ns, [Some(3_000_000), Some(-3_000_000)]);
}

#[test]
fn times_that_hardly_differ_do_not_tell_who_is_nearer() {
    let mut sights = traffic(3, |n, from_client| !from_client && n % 9 == 4);
    // A busy processor looks at the far queue a little later, whoever sent.
    sights[0] = sights[1].clone();
    sights[0].iter_mut().for_each(|sight| sight.at_ns -= 5000);
    sights[0].retain(|sight| sight.segment.is_from_client() || sight.segment.seq % 9 != 4);
    let told = compared(&sights, &[900, 2100], 4000);
    let dead = (0..300).filter(|n| n % 9 == 4).count() as u64;
    assert_eq!((lost(&told, 0), lost(&told, 1)), (0, dead));
    assert_eq!(sum(&told, |one| one.not_captured[0]), 0);
}

#[test]
fn what_is_on_its_way_at_the_end_is_not_lost() {
    let sights = traffic(2, |_, _| false);
    // The last 3 ms are missing at whoever sees them second.
    let told = compared(&sights, &[700], 2000 - 6);
    assert_eq!((lost(&told, 0), lost(&told, 1)), (0, 0));
}

#[test]
fn an_acknowledgment_of_the_next_round_still_speaks_against_a_loss() {
    let mut sights = traffic(6, |_, _| false);
    let at_ns = START_NS + 1000 * MS;
    // Both points see the SYN and its answer, but the far one has not captured the SYN.
    let syn = Segment { seq: 77, ack: 0, ..segment(0, 40_001, true, 0x02) };
    let syn_ack = Segment { seq: 99, ack: 78, ..segment(0, 40_001, false, 0x12) };
    sights[0].push(Sight { at_ns, segment: syn });
    for (point, at_ns) in [(1, at_ns + 900 * MS), (0, at_ns + 903 * MS)] {
        sights[point].push(Sight { at_ns, segment: syn_ack });
    }
    let told = compared(&sights, &[1500, 2500, 3500], 7000);
    assert_eq!((lost(&told, 0), sum(&told, |one| one.not_captured[1])), (0, 1));
}

#[test]
fn no_traffic_is_no_trouble_and_strangers_are_told_of_once() {
    let mut rounds = rounds(1 << 20);
    let empty = |reached_ns| Window { reached_ns, ..Window::default() };
    let told = rounds.compare(empty(START_NS));
    assert!(told.trouble.is_none() && told.comparison.lost.is_empty());
    let mut sights = traffic(4, |_, _| false);
    sights[1].iter_mut().for_each(|sight| sight.segment.seq += 5_000_000);
    let mut troubles = Vec::new();
    for half in [0, 1] {
        let part = sights.each_ref().map(|sights| {
            let (first, second) = sights.split_at(sights.len() / 2);
            if half == 0 { first.to_vec() } else { second.to_vec() }
        });
        let reached_ns = START_NS + (half + 1) * 2 * SECOND_NS;
        let told = rounds.compare(Window { sights: part, reached_ns, ..Window::default() });
        assert!(told.comparison.lost.is_empty(), "what has no like there is not lost on the way");
        troubles.extend(told.trouble);
    }
    assert!(matches!(troubles[..], [CompareError::NothingInCommon]), "{troubles:?}");
}

#[test]
fn where_the_capture_lost_frames_nothing_is_called_lost() {
    let sights = traffic(4, |n, from_client| from_client && n % 20 == 0);
    let mut rounds = rounds(1 << 20);
    let end_ns = START_NS + 5 * SECOND_NS;
    let doubt = (START_NS + SECOND_NS, START_NS + 2 * SECOND_NS - 1);
    let told = rounds.compare(Window {
        sights,
        reached_ns: end_ns,
        end_ns: Some(end_ns),
        doubts: [Vec::new(), vec![doubt]],
        capture_lost: [0, 9],
        not_compared: 4,
        ..Window::default()
    });
    let Comparison { watched, counts, .. } = &told.comparison;
    let watched = watched.unwrap();
    // From 0.8 s to 2 s: those missing might have been there a little later or earlier.
    assert_eq!((watched.in_doubt, watched.capture_lost), ([0, 7], [0, 9]));
    assert_eq!(lost(std::slice::from_ref(&told.comparison), 0), 13);
    assert_eq!(counts.not_compared, 4);
}

#[test]
fn memory_stays_bounded_and_its_cuts_cause_no_loss() {
    let sights = traffic(20, |_, _| false);
    let mut rounds = rounds(100);
    for second in 0..20u64 {
        let (from, until) = (second * 100, (second + 1) * 100);
        let part =
            sights.each_ref().map(|sights| sights[from as usize * 2..until as usize * 2].to_vec());
        let reached_ns = part[0].last().unwrap().at_ns.min(part[1].last().unwrap().at_ns);
        let told = rounds.compare(Window { sights: part, reached_ns, ..Window::default() });
        assert!(told.comparison.lost.is_empty());
        assert!(rounds.past.iter().all(|past| past.len() <= 100));
    }
}
