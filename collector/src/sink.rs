//! The end of a file's path: merged outputs go through the one aggregator to the reporter.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use xdpwatch_core::aggregate::Aggregate;
use xdpwatch_core::finding::Finding;
use xdpwatch_core::watch::Output;

use crate::alerts::{Alerts, Audience};
use crate::evidence::Clerk;
use crate::evidence::history::History;
use crate::evidence::redact::Redactor;
use crate::report::{Context, Occasion, Reporter};
use crate::stats::{FindingStats, Stats};
use crate::worker::Detection;

/// Aggregator and reporter of one vantage point.
pub struct Sink<'a> {
    aggregate: Aggregate,
    reporter: &'a mut dyn Reporter,
    context: &'a Context,
    alerts: Alerts,
    failure: Option<io::Error>,
    evidence: Option<(Clerk, Arc<Mutex<History>>)>,
    shown: Option<Instant>,
}

/// How often the numbers are shown to those who may ask.
const SHOW_INTERVAL: Duration = Duration::from_secs(1);

impl<'a> Sink<'a> {
    /// A sink for one vantage point, with the workers' choices.
    pub fn new(
        detection: &Detection,
        context: &'a Context,
        reporter: &'a mut dyn Reporter,
        redactor: Option<Redactor>,
    ) -> Self {
        Self {
            aggregate: Aggregate::new(&detection.limits, detection.seeds),
            reporter,
            context,
            alerts: Alerts::new(detection.group, detection.seeds, redactor),
            failure: None,
            evidence: None,
            shown: None,
        }
    }

    /// Shows the numbers to those who may ask, if it is time to.
    pub fn show(&mut self, stats: impl FnOnce() -> Stats) {
        if self.shown.is_none_or(|at| at.elapsed() >= SHOW_INTERVAL) {
            self.shown = Some(Instant::now());
            let stats = self.complete(stats());
            self.reporter.show(self.context, stats, None);
        }
    }

    /// Writes evidence from `history` with each finding.
    pub fn keep_evidence(&mut self, clerk: Clerk, history: Arc<Mutex<History>>) {
        self.evidence = Some((clerk, history));
    }

    /// Takes the next output in order of time.
    pub fn handle(&mut self, output: &Output) {
        self.tell(|aggregate, emit| aggregate.handle(output, emit));
    }

    /// End of input at `end_ns`.
    pub fn finish(&mut self, end_ns: u64) {
        self.tell(|aggregate, emit| aggregate.finish(end_ns, emit));
        let Self { reporter, context, alerts, failure, .. } = self;
        let mut audience = Audience { reporter: *reporter, context, utc_offset_ns: 0 };
        if failure.is_none() {
            *failure = alerts.finish(end_ns, &mut audience).err();
        }
    }

    fn tell(&mut self, work: impl FnOnce(&mut Aggregate, &mut dyn FnMut(Finding))) {
        let Self { aggregate, reporter, context, alerts, failure, evidence, shown: _ } = self;
        let mut audience = Audience { reporter: *reporter, context, utc_offset_ns: 0 };
        work(aggregate, &mut |mut finding| {
            if let Some((clerk, history)) = evidence {
                clerk.attend(&mut finding, history);
            }
            if failure.is_none() {
                let told = alerts.group(finding, &mut audience);
                *failure =
                    told.and_then(|(finding, group)| audience.finding(&finding, group)).err();
            }
        });
    }

    /// Reports statistics, with the findings counted here.
    pub fn statistics(&mut self, stats: Stats, occasion: Occasion) {
        let stats = self.complete(stats);
        if self.failure.is_none() {
            self.failure = self.reporter.statistics(self.context, stats, occasion).err();
        }
    }

    fn complete(&self, mut stats: Stats) -> Stats {
        stats.aggregate = self.aggregate.counts();
        stats.census = self.aggregate.census(stats.at_ns);
        stats.balancers = self.aggregate.legs().balancers().to_vec();
        self.alerts.add_to(&mut stats);
        stats.evidence = self.evidence.as_ref().map(|(clerk, _)| clerk.archive().counts());
        stats
    }

    /// Findings reported so far.
    #[must_use]
    pub fn findings(&self) -> FindingStats {
        self.alerts.findings()
    }

    /// Whether reporting has failed: going on is pointless.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.failure.is_some()
    }

    /// The first error of reporting.
    ///
    /// # Errors
    /// That one.
    pub fn result(&mut self) -> io::Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }
}
