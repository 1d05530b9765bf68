//! Two interfaces of one machine, compared round by round while they are watched: each round tells of
//! what is settled by then. Whatever lies at its end waits for the next, so that nothing there is called
//! lost or counted twice.
//!
//! Both have one clock, so that nothing is estimated but what the path takes. It gets segments and what
//! is known of the captures' own losses; it knows no interface, thread or time of day.

use xdpwatch_core::finding::Finding;

use super::error::CompareError;
use super::evidence::{Evidence, GAP_NS, Nearest};
use super::judge::{self, Judged, Order};
use super::kept::Findings;
use super::lost::{Alone, Counts, Matcher, Point, WAIT_NS};
use super::offset::{Clock, Sighting};
use super::points::{Memory, Points, Sight};
use super::segment::Segment;
use super::{Comparison, Watched};
use crate::evidence::redact::Redactor;

/// How long an acknowledgment may still speak against a loss, nanoseconds.
pub const SETTLE_NS: u64 = 2_000_000_000;

/// How long lost segments are remembered for findings that end later, nanoseconds.
const LOST_NS: u64 = 300_000_000_000;

/// Lost segments remembered at most.
const LOST_MAX: usize = 1 << 16;

/// A frame's time is that at which its queue is looked at, and a busy processor looks at the queues of
/// two interfaces in any order.
const ORDER: Order = Order { more_than_ns: 100_000, majority: 8 };

/// Pairs of addresses in common, and senders, remembered at most; then all are learned anew.
const PAIRS_MAX: usize = 1 << 16;

/// Segments between addresses that one side has nothing of, before it is said that both have nothing in
/// common.
const STRANGE_MIN: u64 = 10;

/// From when to when, nanoseconds.
pub type Span = (u64, u64);

/// Adds a time in which something may have been missed; times that meet become one.
pub fn doubt(doubts: &mut Vec<Span>, (from_ns, until_ns): Span) {
    match doubts.last_mut() {
        Some((first_ns, last_ns)) if from_ns <= *last_ns => {
            *first_ns = from_ns.min(*first_ns);
            *last_ns = until_ns.max(*last_ns);
        }
        _ => doubts.push((from_ns, until_ns)),
    }
}

/// What came in since the last round.
#[derive(Debug, Default)]
pub struct Window {
    /// What each saw, in any order.
    pub sights: [Vec<Sight>; 2],
    /// Everything seen before this is among what has come so far.
    pub reached_ns: u64,
    /// When watching ended, if it has: nothing is to come any more.
    pub end_ns: Option<u64>,
    /// When each may have missed something.
    pub doubts: [Vec<Span>; 2],
    /// Frames that each capture lost itself.
    pub capture_lost: [u64; 2],
    /// Segments that found no place in memory.
    pub not_compared: u64,
    /// What was found at each.
    pub findings: Vec<(Point, Finding)>,
    /// Findings that were not kept: too many.
    pub findings_not_kept: u64,
}

/// What a round says.
#[derive(Debug)]
pub struct Told {
    /// The comparison.
    pub comparison: Comparison,
    /// Why nothing can be compared; said once.
    pub trouble: Option<CompareError>,
    /// Findings that were not kept, so that they could be explained: too many.
    pub findings_not_kept: u64,
}

/// Everything that outlasts a round.
#[derive(Debug)]
pub struct Rounds {
    names: [String; 2],
    redactor: Option<Redactor>,
    /// Segments of each that may stay.
    places: usize,
    matcher: Matcher,
    nearest: Nearest,
    /// Not matched yet.
    fresh: [Vec<Sight>; 2],
    /// Matched, and may yet speak against a loss.
    past: [Vec<Sight>; 2],
    /// Not judged yet, and those just before.
    alone: Vec<Alone>,
    lost: Vec<Alone>,
    findings: Findings,
    doubts: [Vec<Span>; 2],
    judged_ns: u64,
    /// Data segments matched, and not.
    data: [u64; 2],
    strange: u64,
    has_spoken: bool,
}

impl Rounds {
    /// Of interfaces that are both watched from `begin_ns` on; `places` segments of each may stay for
    /// the next round.
    #[must_use]
    pub fn new(
        names: [String; 2],
        begin_ns: u64,
        places: usize,
        redactor: Option<Redactor>,
    ) -> Self {
        // What had passed one before the other was watched is not lost.
        let begin_ns = begin_ns.saturating_add(WAIT_NS);
        Self {
            names,
            redactor,
            places,
            matcher: Matcher::new(Default::default(), [(begin_ns, u64::MAX); 2]),
            nearest: Nearest::new(),
            fresh: Default::default(),
            past: Default::default(),
            alone: Vec::new(),
            lost: Vec::new(),
            findings: Findings::default(),
            doubts: Default::default(),
            judged_ns: begin_ns,
            data: [0; 2],
            strange: 0,
            has_spoken: false,
        }
    }

    /// Compares what is settled.
    pub fn compare(&mut self, window: Window) -> Told {
        let Window { sights, reached_ns, end_ns, doubts, capture_lost, .. } = window;
        for (point, (sights, doubts)) in sights.into_iter().zip(doubts).enumerate() {
            self.fresh[point].extend(sights);
            self.fresh[point].sort_by_key(|sight| sight.at_ns);
            self.doubts[point].extend(doubts);
        }
        window.findings.iter().for_each(|(point, finding)| self.findings.keep(*point, finding));
        self.findings.not_kept += window.findings_not_kept;
        let (common, clock, later_ns) = self.match_until(reached_ns, end_ns);
        let mut counts = std::mem::take(&mut self.matcher.counts);
        counts.not_compared += window.not_compared;
        let settled_ns = end_ns.map_or(reached_ns.saturating_sub(SETTLE_NS), |_| u64::MAX);
        let until_ns = settled_ns.max(self.judged_ns);
        counts.not_compared += self.take_alone();
        let data_left_out = self.leave_data_out(&counts);
        let Judged { not_captured, in_doubt, lost } = self.judge(until_ns, &clock);
        self.lost.extend_from_slice(&lost);
        let findings = judge::explain(self.findings.take(until_ns), &self.lost, &clock);
        let trouble = self.trouble(&common, &counts, end_ns.is_some());
        let from_ns = std::mem::replace(&mut self.judged_ns, until_ns);
        self.forget();
        let (lost, groups_left_out) = judge::groups(&lost);
        let comparison = Comparison {
            names: self.names.clone(),
            at_ns: end_ns.unwrap_or(until_ns),
            clock,
            watched: Some(Watched { from_ns, later_ns, capture_lost, in_doubt }),
            counts,
            not_captured,
            data_left_out,
            lost,
            groups_left_out,
            findings,
        };
        let findings_not_kept = std::mem::take(&mut self.findings.not_kept);
        Told { comparison, trouble, findings_not_kept }
    }

    /// Matches what has its twin by now, if it has one; what both have in common of all that is there.
    fn match_until(
        &mut self,
        reached_ns: u64,
        end_ns: Option<u64>,
    ) -> (Vec<(Segment, Sighting)>, Clock, [Option<i64>; 2]) {
        // A segment seen before this has its twin among what is there, or none.
        let complete_ns = end_ns.map_or(reached_ns.saturating_sub(WAIT_NS), |_| u64::MAX);
        let due = self.fresh.each_mut().map(|fresh| -> Vec<Sight> {
            fresh.drain(..fresh.partition_point(|sight| sight.at_ns < complete_ns)).collect()
        });
        let parts = [&self.past, &due, &self.fresh];
        let all = Memory(&parts);
        let (Ok(first), Ok(second)) = (all.sample(0, false), all.sample(1, false));
        let common = first.common(&second);
        let sightings: Vec<Sighting> = common.iter().map(|(_, sighting)| *sighting).collect();
        let (clock, later_ns) = Clock::shared(&sightings);
        if self.matcher.common.len() > PAIRS_MAX || self.nearest.len() > PAIRS_MAX {
            self.matcher.common.clear();
            self.nearest.clear();
        }
        self.matcher.common.extend(judge::pairs(&common));
        self.nearest.extend(judge::nearest(&common, &clock, ORDER));
        let matcher = &mut self.matcher;
        let Ok(()) = Memory(&[&due]).each(&clock, |point, segment, at_ns| {
            matcher.take(point, segment, at_ns);
        });
        match end_ns {
            None => matcher.pass_time(complete_ns),
            Some(end_ns) => {
                // What was on its way then had no time to arrive.
                let until_ns = end_ns.saturating_sub(WAIT_NS);
                matcher.spans.iter_mut().for_each(|span| span.1 = until_ns);
                matcher.finish();
            }
        }
        for (past, mut due) in self.past.iter_mut().zip(due) {
            past.append(&mut due);
            past.sort_by_key(|sight| sight.at_ns);
        }
        (common, clock, later_ns)
    }

    /// Takes what stayed alone; how many came too late to be judged.
    fn take_alone(&mut self) -> u64 {
        let known = self.alone.len();
        self.alone.append(&mut self.matcher.alone);
        let judged_ns = self.judged_ns;
        let new = self.alone.split_off(known);
        let (new, late): (Vec<_>, Vec<_>) = new.into_iter().partition(|one| one.at_ns >= judged_ns);
        self.alone.extend(new);
        self.alone.sort_by_key(|one| (one.at_ns, one.seen_at, one.segment));
        late.len() as u64
    }

    /// Whether data says nothing here; of what merges or splits it much was seen over time.
    fn leave_data_out(&mut self, counts: &Counts) -> bool {
        self.data[0] += counts.data[0];
        self.data[1] += counts.data[1];
        let is_left_out = judge::is_data_left_out(self.data);
        if is_left_out {
            self.alone.retain(|one| !one.is_data());
        }
        is_left_out
    }

    /// What those are that stayed alone from the last round's end to `until_ns`.
    fn judge(&self, until_ns: u64, clock: &Clock) -> Judged {
        let due = &self.alone[..self.alone.partition_point(|one| one.at_ns < until_ns)];
        let mut evidence = Evidence::new(due, &self.nearest);
        let Ok(()) = Memory(&[&self.past]).each(clock, |_, segment, at_ns| {
            evidence.take(&segment, at_ns);
        });
        let fates = evidence.fates();
        // Those before were told in the last round; they are here for what they say about others.
        let new = due.partition_point(|one| one.at_ns < self.judged_ns);
        let doubts = |point: Point, at_ns: u64| {
            // It would have passed there a little later or earlier.
            let (from_ns, until_ns) =
                (at_ns.saturating_sub(WAIT_NS), at_ns.saturating_add(WAIT_NS));
            self.doubts[point].iter().any(|(from, until)| *from <= until_ns && from_ns <= *until)
        };
        judge::judge(&due[new..], &fates[new..], doubts, self.redactor.as_ref())
    }

    /// Why nothing matches, once it is sure that nothing does.
    fn trouble(
        &mut self,
        common: &[(Segment, Sighting)],
        counts: &Counts,
        is_end: bool,
    ) -> Option<CompareError> {
        self.has_spoken |= !common.is_empty() || counts.matched > 0;
        self.strange += counts.elsewhere;
        let enough = if is_end { 1 } else { STRANGE_MIN };
        if self.has_spoken || self.strange < enough {
            return None;
        }
        self.has_spoken = true;
        let Ok(why) = judge::why_nothing(&Memory(&[&self.past, &self.fresh]));
        Some(why)
    }

    /// Lets go of what no later round needs.
    fn forget(&mut self) {
        let needed_ns = self.judged_ns.saturating_sub(GAP_NS);
        self.alone.drain(..self.alone.partition_point(|one| one.at_ns < needed_ns));
        let mut cut_ns = 0;
        for past in &mut self.past {
            let old = past.partition_point(|sight| sight.at_ns < needed_ns);
            let too_many = past.len().saturating_sub(self.places).max(old);
            past.drain(..too_many);
            cut_ns =
                cut_ns.max(past.first().filter(|_| too_many > old).map_or(0, |sight| sight.at_ns));
        }
        let old = self.lost.partition_point(|one| one.at_ns + LOST_NS < self.judged_ns);
        self.lost.drain(..old.max(self.lost.len().saturating_sub(LOST_MAX)));
        for doubts in &mut self.doubts {
            doubts.retain(|(_, until)| until.saturating_add(WAIT_NS) >= self.judged_ns);
            if cut_ns > self.judged_ns {
                // What would have spoken against a loss is no longer there.
                doubts.push((self.judged_ns, cut_ns));
            }
        }
    }
}

#[cfg(test)]
mod tests;
