//! The end of every path: merged outputs go through the one aggregator to the reporter.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use xdpwatch_core::aggregate::Aggregate;
use xdpwatch_core::finding::Finding;
use xdpwatch_core::watch::Output;

use crate::evidence::Clerk;
use crate::evidence::history::History;
use crate::report::{Context, Occasion, Reporter};
use crate::state::State;
use crate::stats::{FindingStats, Stats};
use crate::worker::Detection;

/// Aggregator and reporter of one vantage point.
pub struct Sink<'a> {
    aggregate: Aggregate,
    reporter: &'a mut dyn Reporter,
    context: &'a Context,
    findings: FindingStats,
    failure: Option<io::Error>,
    evidence: Option<(Clerk, Arc<Mutex<History>>)>,
    shown: Option<(State, Option<Instant>)>,
}

/// How often the numbers are shown to those who ask.
const SHOW_INTERVAL: Duration = Duration::from_secs(1);

impl<'a> Sink<'a> {
    /// A sink for one vantage point, with the workers' choices.
    pub fn new(
        detection: &Detection,
        context: &'a Context,
        reporter: &'a mut dyn Reporter,
    ) -> Self {
        Self {
            aggregate: Aggregate::new(&detection.limits, detection.seeds),
            reporter,
            context,
            findings: FindingStats::default(),
            failure: None,
            evidence: None,
            shown: None,
        }
    }

    /// Shows the numbers to those who ask, while it goes on.
    pub fn show_in(&mut self, state: State) {
        self.shown = Some((state, None));
    }

    /// Shows the numbers, if it is time to.
    pub fn show(&mut self, stats: impl FnOnce() -> Stats) {
        let Some((state, at)) = &mut self.shown else { return };
        if at.is_some_and(|at| at.elapsed() < SHOW_INTERVAL) {
            return;
        }
        *at = Some(Instant::now());
        let state = state.clone();
        let stats = self.complete(stats());
        state.show(self.context, &stats, Occasion::Asked);
        state.set_trouble(None);
    }

    /// Writes evidence from `history` with each finding.
    pub fn keep_evidence(&mut self, clerk: Clerk, history: Arc<Mutex<History>>) {
        self.evidence = Some((clerk, history));
    }

    /// Takes the next output in order of time.
    pub fn handle(&mut self, output: Output) {
        self.tell(|aggregate, emit| aggregate.handle(output, emit));
    }

    /// End of input at `end_ns`.
    pub fn finish(&mut self, end_ns: u64) {
        self.tell(|aggregate, emit| aggregate.finish(end_ns, emit));
    }

    fn tell(&mut self, work: impl FnOnce(&mut Aggregate, &mut dyn FnMut(Finding))) {
        let Self { aggregate, reporter, context, findings, failure, evidence, shown: _ } = self;
        work(aggregate, &mut |mut finding| {
            findings.count(&finding);
            if let Some((clerk, history)) = evidence {
                clerk.attend(&mut finding, history);
            }
            if failure.is_none() {
                *failure = reporter.finding(context, &finding, 0).err();
            }
        });
    }

    /// Reports statistics, with the findings counted here.
    pub fn statistics(&mut self, stats: Stats, occasion: Occasion) {
        let stats = self.complete(stats);
        if self.failure.is_none() {
            self.failure = self.reporter.statistics(self.context, &stats, occasion).err();
        }
    }

    fn complete(&self, stats: Stats) -> Stats {
        let evidence = self.evidence.as_ref().map(|(clerk, _)| clerk.archive().counts());
        let (findings, aggregate) = (self.findings, self.aggregate.counts());
        Stats { findings, aggregate, evidence, ..stats }
    }

    /// Findings reported so far.
    #[must_use]
    pub fn findings(&self) -> FindingStats {
        self.findings
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
