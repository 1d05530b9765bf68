//! A reporter that passes everything on and keeps, bounded, what the comparison will speak about.

use std::collections::BTreeMap;
use std::io;

use xdpwatch_core::finding::{About, Finding};

use super::Point;
use crate::report::{Context, Reporter};

/// Findings kept.
const KEPT_MAX: usize = 1 << 12;

/// The latest state of each finding about a connection.
#[derive(Debug, Default)]
pub struct Findings {
    kept: BTreeMap<(Point, u64), Finding>,
    /// Findings that were not kept, because all places were taken.
    pub not_kept: u64,
}

impl Findings {
    /// Keeps a finding of this point.
    pub fn keep(&mut self, point: Point, finding: &Finding) {
        if finding.about != About::Connection {
            return;
        }
        let key = (point, finding.id);
        if self.kept.len() < KEPT_MAX || self.kept.contains_key(&key) {
            self.kept.insert(key, finding.clone());
        } else {
            self.not_kept += 1;
        }
    }

    /// Takes those of before `until_ns` out, in order of the time at which what they are about began.
    #[must_use]
    pub fn take(&mut self, until_ns: u64) -> Vec<(Point, Finding)> {
        let (taken, kept) = std::mem::take(&mut self.kept)
            .into_iter()
            .partition(|(_, finding)| finding.at_ns < until_ns);
        self.kept = kept;
        let taken: BTreeMap<_, _> = taken;
        let mut taken: Vec<_> =
            taken.into_iter().map(|((point, _), finding)| (point, finding)).collect();
        taken.sort_by_key(|(point, finding)| (*point, finding.began_ns, finding.id));
        taken
    }
}

/// Keeps the findings of the files that are read.
pub struct Keeper<'a> {
    inner: &'a mut dyn Reporter,
    /// The file being read.
    pub point: Point,
    /// What was found.
    pub findings: Findings,
}

impl<'a> Keeper<'a> {
    /// In front of `inner`.
    pub fn new(inner: &'a mut dyn Reporter) -> Self {
        Self { inner, point: 0, findings: Findings::default() }
    }
}

impl Reporter for Keeper<'_> {
    fn inner(&mut self) -> Option<&mut dyn Reporter> {
        Some(&mut *self.inner)
    }

    fn finding(
        &mut self,
        context: &Context,
        finding: &Finding,
        group_id: u64,
        utc_offset_ns: i64,
    ) -> io::Result<()> {
        self.findings.keep(self.point, finding);
        self.inner.finding(context, finding, group_id, utc_offset_ns)
    }
}
