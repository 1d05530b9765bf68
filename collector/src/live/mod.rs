//! Live capture: per vantage point a set of workers and an aggregator in threads of their own, and here,
//! in the main thread, the reporter, the statistics and the end.

mod aggregator;
mod bell;
mod comparing;
mod evidence;
mod gather;
mod intake;
mod lane;
mod latency;
mod loss;
mod outbox;
mod placement;
mod plan;
mod port;
mod recorder;
mod shared;
mod sleeper;
mod tuning;
mod vantage;
mod writer;

use std::iter;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use xdpwatch_core::finding::{Finding, State};

use crate::alerts::{Alerts, Audience};
use crate::args::Args;
use crate::capture::clock::Clock;
use crate::evidence::Archive;
use crate::log::every;
use crate::report::{Context, Occasion, Origin, Reporter};
use crate::service::notify::{Notifier, Status};
use crate::stats::{FindingStats, Stats};
use crate::stop::Requests;
use crate::worker::Detection;

use comparing::Comparing;
use evidence::Files;
use latency::Latencies;
use plan::{place, points};
use vantage::{Outward, Vantage};

/// Findings that may wait for the reporter.
const FINDINGS_WAITING: usize = 4096;

/// Findings reported at once: what hooks are told of them is written to the disk together.
const FINDINGS_AT_ONCE: usize = 256;

/// How often the end, signals and intervals are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How often interfaces are looked at.
const LOOK_AFTER_INTERVAL: Duration = Duration::from_millis(250);

/// How often the numbers are shown to those who ask over HTTP.
const SHOW_INTERVAL: Duration = Duration::from_secs(1);

/// How often the drift of UTC is read.
const DRIFT_INTERVAL: Duration = Duration::from_secs(1);

/// A finding on its way to the reporter, and which vantage point made it.
type Told = (usize, Finding);

/// Captures until it is told to stop, and reports.
///
/// # Errors
/// What made starting impossible, what broke a running capture, or the reporter's.
pub fn run(
    args: &Args,
    detection: &Detection,
    sensor: &str,
    reporter: &mut dyn Reporter,
    requests: &Requests,
) -> anyhow::Result<FindingStats> {
    let (tell, told) = sync_channel(FINDINGS_WAITING);
    let left =
        args.count.map(|count| Arc::new(AtomicI64::new(count.try_into().unwrap_or(i64::MAX))));
    let keeping = args.evidence.set_up(detection)?;
    let (files, documents) = match &keeping {
        Some(setup) => {
            let (files, documents) = Files::start(Arc::clone(setup.archive()))?;
            (Some(files), Some(documents))
        }
        None => (None, None),
    };
    let keeping = keeping.zip(documents);
    let mut desk = Desk::new(reporter, sensor, args, detection)?;
    desk.archive = keeping.as_ref().map(|(setup, _)| Arc::clone(setup.archive()));
    let mut vantages = Vec::new();
    // Every refusal comes before the first change, whichever interface it concerns.
    let points = points(args);
    let plans = points.iter().map(|names| plan::plan(names, args));
    let mut plans = plans.collect::<anyhow::Result<Vec<_>>>()?;
    place(&mut plans, args);
    let clock = Clock::start();
    let detection = &detection.share_of(plans.len());
    for plans in plans {
        let outward = Outward { tell: tell.clone(), keeping: keeping.clone() };
        let (number, left) = (vantages.len(), left.clone());
        vantages.push(Vantage::start(plans, number, clock, args, detection, outward, left)?);
    }
    drop((tell, keeping));
    desk.comparing = Comparing::start(&vantages, args)?;
    desk.show(&vantages)?;
    desk.notifier.ready();
    let started = Instant::now();
    let ended = loop {
        let over = args.duration.is_some_and(|duration| started.elapsed() >= duration)
            || left
                .as_ref()
                .is_some_and(|left| left.load(std::sync::atomic::Ordering::Relaxed) <= 0);
        if over || requests.end() {
            break Ok(());
        }
        if let Some(failure) = vantages.iter_mut().find_map(Vantage::failure) {
            break Err(failure);
        }
        desk.look(&mut vantages, &told, requests)?;
    };
    desk.notifier.stopping();
    let end_ns = clock.now_ns();
    // Detached first, everywhere: what is in the rings by then is still observed.
    for vantage in &mut vantages {
        vantage.keep_state(args);
        vantage.stop();
    }
    desk.drain(&vantages, &told)?;
    // The summary is due whatever became of the files.
    let written = every(vantages.iter_mut().map(Vantage::join));
    if let Some(files) = files {
        files.join();
    }
    let closed = desk.close(&mut vantages).and_then(|()| desk.compare_rest(end_ns));
    every([closed, ended, written]).map(|()| desk.findings())
}

/// The reporter and what it needs to know.
struct Desk<'a> {
    reporter: &'a mut dyn Reporter,
    contexts: Vec<Context>,
    alerts: Vec<Alerts>,
    latencies: Vec<Latencies>,
    began: Instant,
    losses_read: Instant,
    looked_after: Instant,
    args: &'a Args,
    drift_ns: i64,
    drift_read: Instant,
    interval: Option<Duration>,
    interval_began: Instant,
    archive: Option<Arc<Archive>>,
    comparing: Option<Comparing>,
    shown: Instant,
    notifier: Notifier,
}

impl<'a> Desk<'a> {
    fn new(
        reporter: &'a mut dyn Reporter,
        sensor: &str,
        args: &'a Args,
        detection: &Detection,
    ) -> anyhow::Result<Self> {
        let redactor = args.evidence.redactor()?;
        let alerts = || Alerts::new(detection.group, detection.seeds, redactor.clone());
        let context = |names: &Vec<String>| Context {
            sensor: sensor.to_owned(),
            origin: Origin::Interface(vantage::joined(names)),
        };
        let points = points(args);
        Ok(Self {
            reporter,
            contexts: points.iter().map(context).collect(),
            alerts: points.iter().map(|_| alerts()).collect(),
            latencies: vec![Latencies::default(); points.len()],
            began: Instant::now(),
            losses_read: Instant::now(),
            looked_after: Instant::now(),
            args,
            drift_ns: 0,
            drift_read: Instant::now(),
            interval: args.stats_interval,
            interval_began: Instant::now(),
            archive: None,
            comparing: None,
            shown: Instant::now(),
            notifier: Notifier::new(),
        })
    }

    /// Waits a moment for a finding and does what else is due.
    fn look(
        &mut self,
        vantages: &mut [Vantage],
        told: &Receiver<Told>,
        requests: &Requests,
    ) -> anyhow::Result<()> {
        match told.recv_timeout(LOOK) {
            Ok(first) => self.report(first, told, vantages)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK),
        }
        if self.looked_after.elapsed() >= LOOK_AFTER_INTERVAL {
            self.looked_after = Instant::now();
            self.look_after(vantages)?;
        }
        if self.losses_read.elapsed() >= loss::SAMPLE_INTERVAL {
            self.losses_read = Instant::now();
            self.watch_losses(vantages, false)?;
        }
        for (index, vantage) in vantages.iter().enumerate() {
            let now_ns = vantage.clock().now_ns();
            self.tell(index, |alerts, audience| alerts.tick(now_ns, audience))?;
        }
        if self.drift_read.elapsed() >= DRIFT_INTERVAL {
            self.drift_read = Instant::now();
            self.drift_ns = vantages.first().map_or(0, |vantage| vantage.clock().drift_ns());
        }
        if self.shown.elapsed() >= SHOW_INTERVAL {
            self.shown = Instant::now();
            self.show(vantages)?;
        }
        let due = self.interval.is_some_and(|interval| self.interval_began.elapsed() >= interval);
        if due {
            self.interval_began = Instant::now();
            self.statistics(vantages, Occasion::Interval)?;
        }
        self.compare()?;
        if requests.take_stats() {
            self.statistics(vantages, Occasion::Asked)?;
        }
        if requests.is_reload_asked() {
            self.notifier.reloading();
            if let Some(args) = requests.take_reload() {
                self.retune(&args, vantages)?;
            }
            self.notifier.ready();
        }
        Ok(())
    }

    /// Takes what a reload may change, and hands it on. Tables, groups and counts stay.
    fn retune(&mut self, args: &Args, vantages: &[Vantage]) -> anyhow::Result<()> {
        let detection = Detection::of(args, [0; 4]);
        self.interval = args.stats_interval;
        self.interval_began = Instant::now();
        for (index, vantage) in vantages.iter().enumerate() {
            vantage.retune(&detection);
            let now_ns = vantage.clock().now_ns();
            self.tell(index, |alerts, audience| alerts.retune(detection.group, now_ns, audience))?;
        }
        if let Some(archive) = &self.archive {
            archive.retune(args.evidence.limits(), args.evidence.choices(&detection));
        }
        if let Some(comparing) = &mut self.comparing {
            comparing.retune(args);
        }
        self.reporter.retune(args);
        crate::log::log_as(args.verbose);
        Ok(())
    }

    /// Reports this finding and those that wait behind it: first their groups, and once no kill can lose
    /// what hooks are to be told of these, the findings. Whoever reads of one knows that it arrives.
    fn report(
        &mut self,
        first: Told,
        told: &Receiver<Told>,
        vantages: &[Vantage],
    ) -> anyhow::Result<()> {
        let mut grouped = Vec::new();
        for (number, finding) in iter::once(first).chain(told.try_iter()).take(FINDINGS_AT_ONCE) {
            let told = self.tell(number, |alerts, audience| alerts.group(finding, audience))?;
            grouped.push((number, told));
        }
        self.reporter.secure();
        for (number, (finding, group)) in grouped {
            self.tell(number, |_, audience| audience.finding(&finding, group))?;
            if let Some(comparing) = &mut self.comparing {
                comparing.findings.keep(number, &finding);
            }
            if finding.state == State::Firing {
                let now_ns = vantages[number].clock().now_ns();
                self.latencies[number].record(now_ns.saturating_sub(finding.at_ns));
            }
        }
        Ok(())
    }

    /// Lets every vantage point look at its interfaces, and tells of gaps; whoever asks knows at once.
    fn look_after(&mut self, vantages: &mut [Vantage]) -> anyhow::Result<()> {
        for (index, vantage) in vantages.iter_mut().enumerate() {
            let told = vantage.look_after(self.args);
            let context = &self.contexts[index];
            for interruption in &told {
                self.reporter.interruption(context, interruption, self.drift_ns)?;
            }
            if !told.is_empty() {
                if let Some(comparing) = &mut self.comparing {
                    comparing.interrupted(index);
                }
                let stats = self.stats(index, vantage, false)?;
                self.reporter.show(&self.contexts[index], stats, vantage.trouble());
            }
        }
        Ok(())
    }

    fn watch_losses(&mut self, vantages: &mut [Vantage], is_end: bool) -> anyhow::Result<()> {
        let (now, mut known_ns) = (self.began.elapsed(), u64::MAX);
        for vantage in &mut *vantages {
            known_ns = known_ns.min(vantage.watch_losses(now, is_end)?);
        }
        if let Some(comparing) = &mut self.comparing {
            comparing.watch_losses(vantages, known_ns);
        }
        Ok(())
    }

    fn tell<T>(
        &mut self,
        vantage: usize,
        what: impl FnOnce(&mut Alerts, &mut Audience<'_>) -> std::io::Result<T>,
    ) -> anyhow::Result<T> {
        let mut audience = Audience {
            reporter: &mut *self.reporter,
            context: &self.contexts[vantage],
            utc_offset_ns: self.drift_ns,
        };
        Ok(what(&mut self.alerts[vantage], &mut audience)?)
    }

    /// Reports what is still coming until every aggregator has ended.
    fn drain(&mut self, vantages: &[Vantage], told: &Receiver<Told>) -> anyhow::Result<()> {
        loop {
            let ended = vantages.iter().all(Vantage::is_ended);
            match told.recv_timeout(LOOK) {
                Ok(first) => self.report(first, told, vantages)?,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) if ended => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn close(&mut self, vantages: &mut [Vantage]) -> anyhow::Result<()> {
        self.watch_losses(vantages, true)?;
        for (index, vantage) in vantages.iter().enumerate() {
            let now_ns = vantage.clock().now_ns();
            self.tell(index, |alerts, audience| alerts.finish(now_ns, audience))?;
        }
        self.statistics(vantages, Occasion::End)
    }

    /// Shows the numbers as they are now, and whether all is well.
    fn show(&mut self, vantages: &[Vantage]) -> anyhow::Result<()> {
        let mut status = Status::default();
        for (index, vantage) in vantages.iter().enumerate() {
            let (stats, trouble) = (self.stats(index, vantage, false)?, vantage.trouble());
            status.add(self.contexts[index].name(), &stats, trouble.as_deref());
            self.reporter.show(&self.contexts[index], stats, trouble);
        }
        let goes_on = vantages.iter().all(|vantage| vantage.silent_worker().is_none());
        self.notifier.progress(status.to_string(), goes_on);
        Ok(())
    }

    fn stats(&self, index: usize, vantage: &Vantage, is_end: bool) -> anyhow::Result<Stats> {
        let mut stats = vantage.stats(is_end)?;
        self.alerts[index].add_to(&mut stats);
        stats.latency = Some(self.latencies[index].summary());
        stats.evidence = self.archive.as_ref().map(|archive| archive.counts());
        stats.at_ns = stats.at_ns.saturating_add_signed(self.drift_ns);
        Ok(stats)
    }

    fn statistics(&mut self, vantages: &[Vantage], occasion: Occasion) -> anyhow::Result<()> {
        for (index, vantage) in vantages.iter().enumerate() {
            let stats = self.stats(index, vantage, occasion == Occasion::End)?;
            self.reporter.statistics(&self.contexts[index], stats, occasion)?;
        }
        Ok(())
    }

    fn findings(&self) -> FindingStats {
        let mut sum = FindingStats::default();
        self.alerts.iter().for_each(|alerts| sum.add(&alerts.findings()));
        sum
    }
}
