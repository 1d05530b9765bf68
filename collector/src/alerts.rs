//! One vantage point's findings on their way out: counted, grouped, told.

use std::io;

use xdpwatch_core::finding::Finding;
use xdpwatch_core::group::{Change, Config, Groups};

use crate::evidence::redact::Redactor;
use crate::report::{Context, Reporter};
use crate::stats::{FindingStats, Stats};

/// Groups and counts of one vantage point.
#[derive(Debug)]
pub struct Alerts {
    groups: Groups,
    findings: FindingStats,
    redactor: Option<Redactor>,
}

/// Whom to tell, and as what.
pub struct Audience<'a> {
    /// The reporter.
    pub reporter: &'a mut dyn Reporter,
    /// The vantage point.
    pub context: &'a Context,
    /// To be added to every time.
    pub utc_offset_ns: i64,
}

impl Alerts {
    /// None yet; seeds as for the tables. With `redactor` no real address gets past here.
    #[must_use]
    pub fn new(config: Config, seeds: [u64; 4], redactor: Option<Redactor>) -> Self {
        Self { groups: Groups::new(config, seeds), findings: FindingStats::default(), redactor }
    }

    /// Takes the next finding in order of time: counts it and tells what becomes of its group. Returns it
    /// as it is to be told, and its group's id.
    ///
    /// # Errors
    /// The reporter's.
    pub fn group(
        &mut self,
        finding: Finding,
        audience: &mut Audience<'_>,
    ) -> io::Result<(Finding, u64)> {
        self.findings.count(&finding);
        let finding = match &self.redactor {
            Some(redactor) => redactor.finding(&finding),
            None => finding,
        };
        let mut told = Ok(());
        let group = self.groups.handle(&finding, &mut |change| audience.tell(&change, &mut told));
        told.map(|()| (finding, group))
    }

    /// Other intervals count from now on, after what was due.
    ///
    /// # Errors
    /// The reporter's.
    pub fn retune(
        &mut self,
        config: Config,
        now_ns: u64,
        audience: &mut Audience<'_>,
    ) -> io::Result<()> {
        let mut told = Ok(());
        self.groups.retune(config, now_ns, &mut |change| audience.tell(&change, &mut told));
        told
    }

    /// Tells what is due at `now_ns`.
    ///
    /// # Errors
    /// The reporter's.
    pub fn tick(&mut self, now_ns: u64, audience: &mut Audience<'_>) -> io::Result<()> {
        let mut told = Ok(());
        self.groups.tick(now_ns, &mut |change| audience.tell(&change, &mut told));
        told
    }

    /// End of input: every group is resolved.
    ///
    /// # Errors
    /// The reporter's.
    pub fn finish(&mut self, now_ns: u64, audience: &mut Audience<'_>) -> io::Result<()> {
        let mut told = Ok(());
        self.groups.finish(now_ns, &mut |change| audience.tell(&change, &mut told));
        told
    }

    /// What was counted of findings.
    #[must_use]
    pub fn findings(&self) -> FindingStats {
        self.findings
    }

    /// Adds what was counted here, and renames the addresses in what is there, if that is wanted.
    pub fn add_to(&self, stats: &mut Stats) {
        stats.findings = self.findings;
        stats.groups = self.groups.counts();
        if let Some(redactor) = &self.redactor {
            redactor.statistics(stats);
        }
    }
}

impl Audience<'_> {
    /// Tells a finding of the group with this id.
    ///
    /// # Errors
    /// The reporter's.
    pub fn finding(&mut self, finding: &Finding, group: u64) -> io::Result<()> {
        self.reporter.finding(self.context, finding, group, self.utc_offset_ns)
    }

    fn tell(&mut self, change: &Change<'_>, told: &mut io::Result<()>) {
        if told.is_ok() {
            *told = self.reporter.group(self.context, change, self.utc_offset_ns);
        }
    }
}
