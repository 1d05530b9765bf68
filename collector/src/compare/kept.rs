//! A reporter that passes everything on and keeps, bounded, what the comparison will speak about.

use std::collections::BTreeMap;
use std::io;

use xdpwatch_core::finding::{About, Finding};

use super::Point;
use crate::report::{Context, Reporter};

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
}
