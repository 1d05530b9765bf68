//! Live capture: per interface a set of workers and an aggregator in threads of their own, and here,
//! in the main thread, the reporter, the statistics and the end.

mod aggregator;
mod lane;
mod outbox;
mod vantage;
mod writer;

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use xdpwatch_core::finding::Finding;
use xdpwatch_core::group;

use crate::alerts::{Alerts, Audience};
use crate::args::Args;
use crate::report::{Context, Occasion, Origin, Reporter};
use crate::stats::FindingStats;
use crate::stop::Requests;
use crate::worker::Detection;

use vantage::Vantage;

/// Findings that may wait for the reporter.
const FINDINGS_WAITING: usize = 4096;

/// How often the end, signals and intervals are looked at.
const LOOK: Duration = Duration::from_millis(50);

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
    if args.write.is_some() && args.iface.len() > 1 {
        anyhow::bail!("-w writes the headers of one interface: run one xdpwatch for each -i");
    }
    let (tell, told) = sync_channel(FINDINGS_WAITING);
    let left =
        args.count.map(|count| Arc::new(AtomicI64::new(count.try_into().unwrap_or(i64::MAX))));
    let mut desk = Desk::new(reporter, sensor, args, detection);
    let mut vantages = Vec::new();
    // Every refusal comes before the first change, whichever interface it concerns.
    let plans = args.iface.iter().map(|name| vantage::plan(name, args));
    for plan in plans.collect::<anyhow::Result<Vec<_>>>()? {
        let tell: SyncSender<Told> = tell.clone();
        vantages.push(Vantage::start(plan, vantages.len(), args, detection, tell, left.clone())?);
    }
    drop(tell);
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
    // Detached first, everywhere: what is in the rings by then is still observed.
    vantages.iter_mut().for_each(Vantage::stop);
    desk.drain(&vantages, &told)?;
    for vantage in &mut vantages {
        vantage.join();
    }
    desk.close(&vantages)?;
    ended.map(|()| desk.findings())
}

/// The reporter and what it needs to know.
struct Desk<'a> {
    reporter: &'a mut dyn Reporter,
    contexts: Vec<Context>,
    alerts: Vec<Alerts>,
    drift_ns: i64,
    drift_read: Instant,
    interval: Option<Duration>,
    interval_began: Instant,
}

impl<'a> Desk<'a> {
    fn new(
        reporter: &'a mut dyn Reporter,
        sensor: &str,
        args: &Args,
        detection: &Detection,
    ) -> Self {
        let alerts = || Alerts::new(group::Config::default(), detection.seeds);
        let context = |name: &String| Context {
            sensor: sensor.to_owned(),
            origin: Origin::Interface(name.clone()),
        };
        Self {
            reporter,
            contexts: args.iface.iter().map(context).collect(),
            alerts: args.iface.iter().map(|_| alerts()).collect(),
            drift_ns: 0,
            drift_read: Instant::now(),
            interval: args.stats_interval,
            interval_began: Instant::now(),
        }
    }

    /// Waits a moment for a finding and does what else is due.
    fn look(
        &mut self,
        vantages: &mut [Vantage],
        told: &Receiver<Told>,
        requests: &Requests,
    ) -> anyhow::Result<()> {
        match told.recv_timeout(LOOK) {
            Ok((vantage, finding)) => self.report(vantage, &finding)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK),
        }
        for (index, vantage) in vantages.iter().enumerate() {
            let now_ns = vantage.clock().now_ns();
            self.tell(index, |alerts, audience| alerts.tick(now_ns, audience))?;
        }
        if self.drift_read.elapsed() >= DRIFT_INTERVAL {
            self.drift_read = Instant::now();
            self.drift_ns = vantages.first().map_or(0, |vantage| vantage.clock().drift_ns());
        }
        let due = self.interval.is_some_and(|interval| self.interval_began.elapsed() >= interval);
        if due {
            self.interval_began = Instant::now();
            self.statistics(vantages, Occasion::Interval)?;
        }
        if requests.take_stats() {
            self.statistics(vantages, Occasion::Asked)?;
        }
        Ok(())
    }

    fn report(&mut self, vantage: usize, finding: &Finding) -> anyhow::Result<()> {
        self.tell(vantage, |alerts, audience| alerts.finding(finding, audience))
    }

    fn tell(
        &mut self,
        vantage: usize,
        what: impl FnOnce(&mut Alerts, &mut Audience<'_>) -> std::io::Result<()>,
    ) -> anyhow::Result<()> {
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
                Ok((vantage, finding)) => self.report(vantage, &finding)?,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) if ended => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn close(&mut self, vantages: &[Vantage]) -> anyhow::Result<()> {
        for (index, vantage) in vantages.iter().enumerate() {
            let now_ns = vantage.clock().now_ns();
            self.tell(index, |alerts, audience| alerts.finish(now_ns, audience))?;
        }
        self.statistics(vantages, Occasion::End)
    }

    fn statistics(&mut self, vantages: &[Vantage], occasion: Occasion) -> anyhow::Result<()> {
        for (index, vantage) in vantages.iter().enumerate() {
            let mut stats = vantage.stats(occasion == Occasion::End)?;
            self.alerts[index].add_to(&mut stats);
            stats.at_ns = stats.at_ns.saturating_add_signed(self.drift_ns);
            self.reporter.statistics(&self.contexts[index], &stats, occasion)?;
        }
        Ok(())
    }

    fn findings(&self) -> FindingStats {
        let mut sum = FindingStats::default();
        self.alerts.iter().for_each(|alerts| sum.add(&alerts.findings()));
        sum
    }
}
