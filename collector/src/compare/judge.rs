//! What segments that stayed alone say: lost, missed by a capture, or not to be told; in groups, and for
//! each finding.

use std::collections::{HashMap, HashSet};

use xdpwatch_core::finding::Finding;

use super::error::CompareError;
use super::evidence::{Fate, Nearest};
use super::lost::{Alone, Point, WAIT_NS};
use super::offset::{Clock, Sighting};
use super::points::Points;
use super::segment::Segment;
use super::{Explained, Group};
use crate::evidence::redact::Redactor;

/// Groups of lost segments that are told; more are counted.
const GROUPS_MAX: usize = 1000;

/// What segments that stayed alone were, by the point that has not got them.
#[derive(Debug, Default)]
pub struct Judged {
    /// They had passed there.
    pub not_captured: [u64; 2],
    /// The capture there was losing frames: nobody can tell.
    pub in_doubt: [u64; 2],
    /// They never arrived, in order of time.
    pub lost: Vec<Alone>,
}

/// Takes each segment's fate for true, except where the point that has not got it `doubts` that it has
/// everything of that time.
pub fn judge(
    alone: &[Alone],
    fates: &[Fate],
    doubts: impl Fn(Point, u64) -> bool,
    redactor: Option<&Redactor>,
) -> Judged {
    let mut judged = Judged::default();
    for (one, fate) in alone.iter().zip(fates) {
        let missing_at = 1 - one.seen_at;
        match fate {
            Fate::NotCaptured => judged.not_captured[missing_at] += 1,
            Fate::Lost if doubts(missing_at, one.at_ns) => judged.in_doubt[missing_at] += 1,
            Fate::Lost => judged.lost.push(*one),
        }
    }
    if let Some(redactor) = redactor {
        let mut known = HashMap::new();
        let mut rename = |addr: &mut [u8; 16]| {
            *addr = *known.entry(*addr).or_insert_with_key(|addr| redactor.address(*addr));
        };
        for one in &mut judged.lost {
            rename(&mut one.segment.src.addr);
            rename(&mut one.segment.dst.addr);
        }
    }
    judged
}

/// Network cards merge and split data: where hardly any is the same at both points, that is why. Of data
/// segments matched, and not.
#[must_use]
pub fn is_data_left_out([matched, alone]: [u64; 2]) -> bool {
    alone * 10 > matched
}

/// No segment is in both: because their addresses differ?
///
/// # Errors
/// The segments can't be had.
pub fn why_nothing<P: Points>(points: &P) -> Result<CompareError, P::Error> {
    let samples = [points.sample(0, true)?, points.sample(1, true)?];
    let translated = samples[0].common(&samples[1]).len();
    Ok(match translated {
        0 => CompareError::NothingInCommon,
        count => CompareError::Translated(count),
    })
}

/// When the order in which two points saw a segment tells which of them it passed first.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// The times differ by more than this, nanoseconds.
    pub more_than_ns: u64,
    /// So many times as many of a sender's segments say the one as say the other.
    pub majority: u64,
}

/// The point that each sender's segments pass first, by their times.
#[must_use]
pub fn nearest(common: &[(Segment, Sighting)], clock: &Clock, order: Order) -> Nearest {
    let mut votes: HashMap<[u8; 16], [u64; 2]> = HashMap::new();
    for (segment, sighting) in common {
        let ahead_ns = sighting.diff_ns - clock.expected_ns(sighting.at_ns);
        if ahead_ns.unsigned_abs() > order.more_than_ns {
            votes.entry(segment.src.addr).or_default()[usize::from(ahead_ns < 0)] += 1;
        }
    }
    let sure = votes.into_iter().filter_map(|(addr, [first, second])| {
        let point = usize::from(second > first);
        (first.max(second) >= order.majority * first.min(second).max(1)).then_some((addr, point))
    });
    sure.collect()
}

/// What was lost by tuple, kind and direction, most first; and how many groups there are beyond those told.
#[must_use]
pub fn groups(lost: &[Alone]) -> (Vec<Group>, u64) {
    let mut groups = group(lost);
    let left_out = groups.len().saturating_sub(GROUPS_MAX) as u64;
    groups.truncate(GROUPS_MAX);
    (groups, left_out)
}

fn group(lost: &[Alone]) -> Vec<Group> {
    let mut groups: HashMap<_, Group> = HashMap::new();
    for Alone { at_ns, seen_at, segment } in lost {
        let kind = segment.kind();
        let group = groups.entry((segment.src, segment.dst, kind, *seen_at)).or_insert(Group {
            src: segment.src,
            dst: segment.dst,
            kind,
            seen_at: *seen_at,
            count: 0,
            span_ns: (*at_ns, *at_ns),
        });
        group.count += 1;
        group.span_ns.1 = *at_ns;
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by_key(|g| (u64::MAX - g.count, g.span_ns, g.src, g.dst, g.kind));
    groups
}

/// What was lost of each finding's connection from its beginning to its end.
#[must_use]
pub fn explain(findings: Vec<(Point, Finding)>, lost: &[Alone], clock: &Clock) -> Vec<Explained> {
    findings.into_iter().map(|(point, finding)| explain_one(point, finding, lost, clock)).collect()
}

fn explain_one(point: Point, finding: Finding, lost: &[Alone], clock: &Clock) -> Explained {
    let on_first = |at_ns| if point == 0 { at_ns } else { clock.on_first(at_ns) };
    let tuple = (finding.src.min(finding.dst), finding.src.max(finding.dst));
    let from = on_first(finding.began_ns).saturating_sub(WAIT_NS);
    let until = on_first(finding.at_ns).saturating_add(WAIT_NS);
    let meanwhile: Vec<Alone> = lost
        .iter()
        .filter(|one| one.segment.tuple() == tuple && (from..=until).contains(&one.at_ns))
        .copied()
        .collect();
    Explained { point, finding, lost: group(&meanwhile) }
}

/// The pairs of addresses of which both points saw something.
#[must_use]
pub fn pairs(common: &[(Segment, Sighting)]) -> HashSet<([u8; 16], [u8; 16])> {
    common.iter().map(|(segment, _)| segment.addresses()).collect()
}
