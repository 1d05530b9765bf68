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

    /// Takes the next finding in order of time.
    ///
    /// # Errors
    /// The reporter's.
    pub fn finding(&mut self, finding: &Finding, audience: &mut Audience<'_>) -> io::Result<()> {
        self.findings.count(finding);
        let renamed = self.redactor.as_ref().map(|redactor| redactor.finding(finding));
        let finding = renamed.as_ref().unwrap_or(finding);
        let mut told = Ok(());
        let group = self.groups.handle(finding, &mut |change| audience.tell(&change, &mut told));
        told?;
        let Audience { reporter, context, utc_offset_ns } = audience;
        reporter.finding(context, finding, group, *utc_offset_ns)
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
    fn tell(&mut self, change: &Change<'_>, told: &mut io::Result<()>) {
        if told.is_ok() {
            *told = self.reporter.group(self.context, change, self.utc_offset_ns);
        }
    }
}
