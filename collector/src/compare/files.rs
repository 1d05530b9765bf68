//! Two capture files, each read three times: for the clocks, for what is missing, for what speaks
//! against a loss.

use std::path::{Path, PathBuf};

use xdpwatch_core::finding::Finding;
use xdpwatch_prog::record::Record;

use super::error::CompareError;
use super::evidence::Evidence;
use super::judge::{self, Judged, Order};
use super::lost::{Matcher, Point};
use super::offset::{Clock, Sighting};
use super::points::{Points, Sight};
use super::{Comparison, Segment};
use crate::capture::file::CaptureFile;
use crate::evidence::redact::Redactor;
use crate::replay::reader::Reader;

/// Clocks further apart than this belong to two different times.
const OFFSET_MAX_NS: u64 = 86_400_000_000_000;

/// Differences that scatter more than this are not of the same traffic.
const SPREAD_MAX_NS: u64 = 1_000_000_000;

/// Clocks of captures tell microseconds.
const ORDER: Order = Order { more_than_ns: 1000, majority: 2 };

/// The two files.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// First and second.
    pub paths: [PathBuf; 2],
    /// Stop after this many packets of each.
    pub count: Option<u64>,
    /// What renames addresses in what is told, if that is wanted.
    pub redactor: Option<Redactor>,
}

impl Inputs {
    fn name(&self, point: Point) -> String {
        self.paths[point].display().to_string()
    }
}

impl Points for Inputs {
    type Error = CompareError;

    fn sights(&self, point: Point) -> Result<impl Iterator<Item = Sight>, CompareError> {
        let file = CaptureFile::open(&self.paths[point]);
        let file = file.map_err(|error| CompareError::File(self.name(point), error))?;
        let reader = Reader::new(file, self.count, None);
        Ok(Stream { reader, records: Vec::new().into_iter(), over: false })
    }
}

/// A file's records one by one, up to its end or to where it is damaged, which replay has told.
struct Stream {
    reader: Reader,
    records: std::vec::IntoIter<Record>,
    over: bool,
}

impl Iterator for Stream {
    type Item = Sight;

    fn next(&mut self) -> Option<Sight> {
        loop {
            if let Some(record) = self.records.next() {
                return Some(Sight { at_ns: record.at_ns, segment: Segment::of(&record) });
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
    let Some(clock) = Clock::of(&sightings) else { return Err(judge::why_nothing(inputs)?) };
    if clock.offset_ns.unsigned_abs() > OFFSET_MAX_NS {
        return Err(CompareError::TooFarApart(clock.offset_ns.unsigned_abs()));
    }
    if clock.spread_ns > SPREAD_MAX_NS {
        return Err(CompareError::Scattered(clock.spread_ns));
    }
    let [first, second] = samples.map(|sample| sample.span_ns.unwrap_or((0, 0)));
    let spans = [first, (clock.on_first(second.0), clock.on_first(second.1))];
    let mut matcher = Matcher::new(judge::pairs(&common), spans);
    inputs.each(&clock, |point, segment, at_ns| matcher.take(point, segment, at_ns))?;
    matcher.finish();
    let Matcher { mut alone, counts, .. } = matcher;
    alone.sort_by_key(|one| (one.at_ns, one.seen_at, one.segment));
    let data_left_out = judge::is_data_left_out(counts.data);
    if data_left_out {
        alone.retain(|one| !one.is_data());
    }
    let mut evidence = Evidence::new(&alone, &judge::nearest(&common, &clock, ORDER));
    inputs.each(&clock, |_, segment, at_ns| evidence.take(&segment, at_ns))?;
    let Judged { not_captured, lost, .. } =
        judge::judge(&alone, &evidence.fates(), |_, _| false, inputs.redactor.as_ref());
    let findings = judge::explain(findings, &lost, &clock);
    let (lost, groups_left_out) = judge::groups(&lost);
    Ok(Comparison {
        names: [inputs.name(0), inputs.name(1)],
        at_ns: spans[0].1.min(spans[1].1),
        clock,
        watched: None,
        counts,
        not_captured,
        data_left_out,
        lost,
        groups_left_out,
        findings,
    })
}

/// Whether a path names a file that can be read more than once.
#[must_use]
pub fn is_readable_again(path: &Path) -> bool {
    path != Path::new("-")
}
