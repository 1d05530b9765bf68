//! Two captures of the same traffic from two places: what one clock is against the other, which
//! segments died between the places, and what that says about each finding.
//!
//! Both files are read three times: for the clocks, for what is missing, for what speaks against a
//! loss. It does not see through address translation, and it compares files only.

mod evidence;
mod kept;
mod lost;
mod offset;
mod sample;
mod segment;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use xdpwatch_core::finding::{Endpoint, Finding};
use xdpwatch_prog::record::Record;

use crate::capture::file::{CaptureFile, FileError};
use crate::replay::reader::Reader;

pub use evidence::Fate;
pub use kept::Keeper;
pub use lost::{Counts, Point};
pub use offset::Clock;
pub use segment::Segment;

use evidence::{Evidence, Nearest};
use lost::{Alone, Matcher};
use offset::Sighting;
use sample::Sample;

/// Clocks further apart than this belong to two different times.
const OFFSET_MAX_NS: u64 = 86_400_000_000_000;

/// Differences that scatter more than this are not of the same traffic.
const SPREAD_MAX_NS: u64 = 1_000_000_000;

/// Groups of lost segments that are told; more are counted.
const GROUPS_MAX: usize = 1000;

/// What two captures say together.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The files, first and second.
    pub names: [String; 2],
    /// Time of the last packet that both cover, on the first's clock, nanoseconds.
    pub at_ns: u64,
    /// The second's clock against the first's.
    pub clock: Clock,
    /// What matching counted.
    pub counts: Counts,
    /// Segments that one capture missed although they had passed there.
    pub not_captured: [u64; 2],
    /// Whether data segments are left out, because something between the points merges or splits them.
    pub data_left_out: bool,
    /// What was lost, most first.
    pub lost: Vec<Group>,
    /// Groups beyond those told.
    pub groups_left_out: u64,
    /// Per finding, what was lost of its connection while it stood.
    pub findings: Vec<Explained>,
}

/// Segments of one kind and direction on one tuple that never reached the other point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Who sent them.
    pub src: Endpoint,
    /// To whom.
    pub dst: Endpoint,
    /// What they were.
    pub kind: &'static str,
    /// The capture that has them; the other has not.
    pub seen_at: Point,
    /// How many.
    pub count: u64,
    /// First and last, on the first capture's clock, nanoseconds.
    pub span_ns: (u64, u64),
}

/// A finding, and what died meanwhile.
#[derive(Clone, Debug)]
pub struct Explained {
    /// Whose finding it is.
    pub point: Point,
    /// The finding.
    pub finding: Finding,
    /// What was lost of its connection meanwhile.
    pub lost: Vec<Group>,
}

/// Why two captures can't be compared.
#[derive(Debug)]
pub enum CompareError {
    /// A file can't be read.
    File(String, FileError),
    /// No segment is in both.
    NothingInCommon,
    /// None is, but with other addresses some would be.
    Translated(usize),
    /// The clocks are too far apart, nanoseconds.
    TooFarApart(u64),
    /// The differences scatter too much, nanoseconds.
    Scattered(u64),
}

impl fmt::Display for CompareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name, error) => write!(f, "{name}: {error}"),
            Self::NothingInCommon => f.write_str(
                "the two captures have nothing in common: no segment with the same ends, numbers \
                 and length is in both; give two captures of the same connections at the same time",
            ),
            Self::Translated(count) => write!(
                f,
                "the two captures have no segment in common, but {count} would be the same with \
                 other addresses: address translation lies between the points, which --compare does \
                 not see through; capture the same leg on both sides"
            ),
            Self::TooFarApart(ns) => write!(
                f,
                "the clocks differ by {} s, more than a day: set one right, for example with \
                 `editcap -t`, or give captures of the same time",
                ns / 1_000_000_000
            ),
            Self::Scattered(ns) => write!(
                f,
                "the time between both sightings of a segment scatters by {} s: these are not two \
                 captures of the same traffic, or a clock was set meanwhile; cut the captures there",
                ns / 1_000_000_000
            ),
        }
    }
}

impl std::error::Error for CompareError {}

/// The two files.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// First and second.
    pub paths: [PathBuf; 2],
    /// Stop after this many packets of each.
    pub count: Option<u64>,
}

impl Inputs {
    fn name(&self, point: Point) -> String {
        self.paths[point].display().to_string()
    }

    fn open(&self, point: Point) -> Result<Reader, CompareError> {
        let file = CaptureFile::open(&self.paths[point]);
        let file = file.map_err(|error| CompareError::File(self.name(point), error))?;
        Ok(Reader::new(file, self.count, None))
    }

    fn sample(&self, point: Point, through_nat: bool) -> Result<Sample, CompareError> {
        let mut sample = Sample::default();
        let mut stream = Stream::new(self.open(point)?);
        while let Some(record) = stream.next() {
            sample.add(&record, through_nat);
        }
        Ok(sample)
    }

    /// Both files' segments in order of the first's clock.
    fn each(
        &self,
        clock: &Clock,
        mut take: impl FnMut(Point, Segment, u64),
    ) -> Result<(), CompareError> {
        let mut streams = [Stream::new(self.open(0)?), Stream::new(self.open(1)?)];
        let mut next = streams.each_mut().map(Stream::next);
        loop {
            let times = [
                next[0].map(|record| record.at_ns),
                next[1].map(|record| clock.on_first(record.at_ns)),
            ];
            let point = match times {
                [None, None] => return Ok(()),
                [Some(first), Some(second)] => usize::from(second < first),
                [first, _] => usize::from(first.is_none()),
            };
            if let (Some(record), Some(at_ns)) = (next[point], times[point]) {
                take(point, Segment::of(&record), at_ns);
            }
            next[point] = streams[point].next();
        }
    }
}

/// A file's records one by one, up to its end or to where it is damaged, which replay has told.
struct Stream {
    reader: Reader,
    records: std::vec::IntoIter<Record>,
    over: bool,
}

impl Stream {
    fn new(reader: Reader) -> Self {
        Self { reader, records: Vec::new().into_iter(), over: false }
    }

    fn next(&mut self) -> Option<Record> {
        loop {
            if let Some(record) = self.records.next() {
                return Some(record);
            }
            if self.over {
                return None;
            }
            let mut records = Vec::with_capacity(1024);
            self.over = !matches!(self.reader.fill(&mut records, 1024), Ok(true));
            self.records = records.into_iter();
        }
    }
}

/// Compares the two files; `findings` are what was found in each.
///
/// # Errors
/// [`CompareError`].
pub fn compare(
    inputs: &Inputs,
    findings: Vec<(Point, Finding)>,
) -> Result<Comparison, CompareError> {
    let samples = [inputs.sample(0, false)?, inputs.sample(1, false)?];
    let common = samples[0].common(&samples[1]);
    let sightings: Vec<Sighting> = common.iter().map(|(_, sighting)| *sighting).collect();
    let Some(clock) = Clock::of(&sightings) else { return Err(why_nothing(inputs)?) };
    if clock.offset_ns.unsigned_abs() > OFFSET_MAX_NS {
        return Err(CompareError::TooFarApart(clock.offset_ns.unsigned_abs()));
    }
    if clock.spread_ns > SPREAD_MAX_NS {
        return Err(CompareError::Scattered(clock.spread_ns));
    }
    let [first, second] = samples.map(|sample| sample.span_ns.unwrap_or((0, 0)));
    let spans = [first, (clock.on_first(second.0), clock.on_first(second.1))];
    let pairs: HashSet<_> = common.iter().map(|(segment, _)| segment.addresses()).collect();
    let mut matcher = Matcher::new(&pairs, spans);
    inputs.each(&clock, |point, segment, at_ns| matcher.take(point, segment, at_ns))?;
    matcher.finish();
    let Matcher { mut alone, counts, .. } = matcher;
    alone.sort_by_key(|one| (one.at_ns, one.seen_at, one.segment));
    // Network cards merge and split data: where hardly any is the same at both points, that is why.
    let data_left_out = counts.data[1] * 10 > counts.data[0];
    if data_left_out {
        alone.retain(|one| one.segment.kind() != "data");
    }
    let mut evidence = Evidence::new(&alone, &nearest(&common, &clock));
    inputs.each(&clock, |_, segment, at_ns| evidence.take(&segment, at_ns))?;
    let fates = evidence.fates();
    let mut not_captured = [0; 2];
    let mut lost = Vec::new();
    for (one, fate) in alone.iter().zip(&fates) {
        match fate {
            Fate::NotCaptured => not_captured[1 - one.seen_at] += 1,
            Fate::Lost => lost.push(*one),
        }
    }
    let findings = findings.into_iter().map(|(point, f)| explain(point, f, &lost, &clock));
    let findings = findings.collect();
    let mut groups = group(&lost);
    let groups_left_out = groups.len().saturating_sub(GROUPS_MAX) as u64;
    groups.truncate(GROUPS_MAX);
    Ok(Comparison {
        names: [inputs.name(0), inputs.name(1)],
        at_ns: spans[0].1.min(spans[1].1),
        clock,
        counts,
        not_captured,
        data_left_out,
        lost: groups,
        groups_left_out,
        findings,
    })
}

/// No segment is in both: because their addresses differ?
fn why_nothing(inputs: &Inputs) -> Result<CompareError, CompareError> {
    let samples = [inputs.sample(0, true)?, inputs.sample(1, true)?];
    let translated = samples[0].common(&samples[1]).len();
    Ok(match translated {
        0 => CompareError::NothingInCommon,
        count => CompareError::Translated(count),
    })
}

/// The point that each sender's segments pass first, by their times.
fn nearest(common: &[(Segment, Sighting)], clock: &Clock) -> Nearest {
    let mut votes: HashMap<[u8; 16], [u64; 2]> = HashMap::new();
    for (segment, sighting) in common {
        let ahead_ns = sighting.diff_ns - clock.expected_ns(sighting.at_ns);
        if ahead_ns.unsigned_abs() > 1000 {
            votes.entry(segment.src.addr).or_default()[usize::from(ahead_ns < 0)] += 1;
        }
    }
    let sure = votes.into_iter().filter_map(|(addr, [first, second])| {
        let point = usize::from(second > first);
        (first.max(second) >= 2 * first.min(second).max(1)).then_some((addr, point))
    });
    sure.collect()
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

/// What was lost of the finding's connection from its beginning to its end.
fn explain(point: Point, finding: Finding, lost: &[Alone], clock: &Clock) -> Explained {
    let on_first = |at_ns| if point == 0 { at_ns } else { clock.on_first(at_ns) };
    let tuple = (finding.src.min(finding.dst), finding.src.max(finding.dst));
    let slack = lost::WAIT_NS;
    let from = on_first(finding.began_ns).saturating_sub(slack);
    let until = on_first(finding.at_ns).saturating_add(slack);
    let meanwhile: Vec<Alone> = lost
        .iter()
        .filter(|one| one.segment.tuple() == tuple && (from..=until).contains(&one.at_ns))
        .copied()
        .collect();
    Explained { point, finding, lost: group(&meanwhile) }
}

/// Whether a path names a file that can be read more than once.
#[must_use]
pub fn is_readable_again(path: &Path) -> bool {
    path != Path::new("-")
}
