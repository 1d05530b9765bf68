//! A reporter that passes everything on and keeps, bounded, what the comparison will speak about.

use std::collections::BTreeMap;
use std::io;

use xdpwatch_core::finding::{About, Finding};
use xdpwatch_core::group::Change;

use super::{Comparison, Point};
use crate::interruption::Interruption;
use crate::report::{Context, Occasion, Reporter};
use crate::stats::Stats;

/// Findings kept.
const KEPT_MAX: usize = 1 << 12;

/// Keeps the latest state of each finding about a connection.
pub struct Keeper<'a> {
    inner: &'a mut dyn Reporter,
    /// The file being read.
    pub point: Point,
    findings: BTreeMap<(Point, u64), Finding>,
    /// Findings that were not kept, because all places were taken.
    pub not_kept: u64,
}

impl<'a> Keeper<'a> {
    /// In front of `inner`.
    pub fn new(inner: &'a mut dyn Reporter) -> Self {
        Self { inner, point: 0, findings: BTreeMap::new(), not_kept: 0 }
    }

    /// The findings, in order of the time at which what they are about began.
    #[must_use]
    pub fn findings(&self) -> Vec<(Point, Finding)> {
        let mut findings: Vec<_> =
            self.findings.iter().map(|((point, _), finding)| (*point, finding.clone())).collect();
        findings.sort_by_key(|(point, finding)| (*point, finding.began_ns, finding.id));
        findings
    }
}

impl Reporter for Keeper<'_> {
    fn finding(
        &mut self,
        context: &Context,
        finding: &Finding,
        group_id: u64,
        utc_offset_ns: i64,
    ) -> io::Result<()> {
        let key = (self.point, finding.id);
        if finding.about == About::Connection {
            if self.findings.len() < KEPT_MAX || self.findings.contains_key(&key) {
                self.findings.insert(key, finding.clone());
            } else {
                self.not_kept += 1;
            }
        }
        self.inner.finding(context, finding, group_id, utc_offset_ns)
    }

    fn group(
        &mut self,
        context: &Context,
        change: &Change<'_>,
        utc_offset_ns: i64,
    ) -> io::Result<()> {
        self.inner.group(context, change, utc_offset_ns)
    }

    fn statistics(
        &mut self,
        context: &Context,
        stats: &Stats,
        occasion: Occasion,
    ) -> io::Result<()> {
        self.inner.statistics(context, stats, occasion)
    }

    fn show(&mut self, context: &Context, stats: &Stats, trouble: Option<String>) {
        self.inner.show(context, stats, trouble);
    }

    fn interruption(
        &mut self,
        context: &Context,
        interruption: &Interruption,
        utc_offset_ns: i64,
    ) -> io::Result<()> {
        self.inner.interruption(context, interruption, utc_offset_ns)
    }

    fn comparison(&mut self, context: &Context, comparison: &Comparison) -> io::Result<()> {
        self.inner.comparison(context, comparison)
    }
}
