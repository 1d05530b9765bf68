//! The comparison of two interfaces while they are watched (`--compare`): when a round is due, what the
//! captures lost themselves meanwhile, and the thread that compares, so that findings don't wait for it.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use super::Desk;
use super::gather::Gathering;
use super::vantage::Vantage;
use crate::args::Args;
use crate::capture::clock::Clock;
use crate::compare::rounds::{Rounds, Span, Told, Window, doubt};
use crate::compare::{Findings, Point};
use crate::log::complain;

/// How often it tells, unless statistics are reported in intervals: then with them.
const INTERVAL: Duration = Duration::from_secs(10);

/// Counters of losses may tell of one this much later, nanoseconds.
const LOSS_TOLD_NS: u64 = 1_000_000_000;

/// The segments remembered lie in three places: gathered, being compared, and kept for what may yet speak
/// against a loss.
const SHARES: usize = 3;

/// A comparison that goes on.
pub struct Comparing {
    gathering: Gathering,
    /// Segments gathered from which on a round does not wait for its time.
    many: usize,
    orders: SyncSender<Window>,
    told: Receiver<Told>,
    is_at_work: bool,
    interval: Duration,
    began: Instant,
    clock: Clock,
    /// What is to be explained.
    pub findings: Findings,
    /// Frames that each capture had lost itself, and when that was looked at.
    lost: [u64; 2],
    looked_ns: u64,
    /// Until when such losses are known.
    known_ns: u64,
    /// Whether each was interrupted since then.
    is_interrupted: [bool; 2],
    doubts: [Vec<Span>; 2],
    capture_lost: [u64; 2],
}

impl Comparing {
    /// Starts, if the two interfaces are to be compared; both are watched by now.
    ///
    /// # Errors
    /// A thread can't be started, or the key of `--redact` can't be used.
    pub fn start(vantages: &[Vantage], args: &Args) -> anyhow::Result<Option<Self>> {
        let ([first, second], true) = (vantages, args.compare) else { return Ok(None) };
        let (clock, places) = (first.clock(), args.live.compare_segments as usize / SHARES);
        let recorders = [first, second].map(|vantage| vantage.recorders.clone());
        let names = [0, 1].map(|point| args.iface[point].clone());
        let redactor = args.evidence.redactor()?;
        let began_ns = clock.now_ns();
        let mut rounds = Rounds::new(names, began_ns, places, redactor);
        let (orders, ordered) = sync_channel::<Window>(1);
        let (tell, told) = sync_channel(1);
        let run = move || {
            for window in ordered {
                // Whoever does not listen any more has ended.
                if tell.send(rounds.compare(window)).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("compare".to_owned()).spawn(run);
        thread.context("starting the thread that compares")?;
        let gathering = Gathering::start(recorders, clock, places);
        complain("--compare: every TCP header is taken, as with --select all");
        Ok(Some(Self {
            gathering: gathering.context("starting the thread that gathers segments")?,
            many: places / 2,
            orders,
            told,
            is_at_work: false,
            interval: args.stats_interval.unwrap_or(INTERVAL),
            began: Instant::now(),
            clock,
            findings: Findings::default(),
            lost: [0; 2],
            looked_ns: began_ns,
            known_ns: 0,
            is_interrupted: [false; 2],
            doubts: Default::default(),
            capture_lost: [0; 2],
        }))
    }

    /// Takes what a reload may change.
    pub fn retune(&mut self, args: &Args) {
        self.interval = args.stats_interval.unwrap_or(INTERVAL);
    }

    /// An interface shows nothing, or showed nothing for a while.
    pub fn interrupted(&mut self, point: Point) {
        self.is_interrupted[point] = true;
    }

    /// Looks at what the captures lost since this was last done; losses are known until `known_ns`.
    pub fn watch_losses(&mut self, vantages: &[Vantage], known_ns: u64) {
        self.known_ns = known_ns;
        let now_ns = self.clock.now_ns();
        let from_ns = self.looked_ns.saturating_sub(LOSS_TOLD_NS);
        for (point, vantage) in vantages.iter().enumerate().take(2) {
            let lost = vantage.lost_itself();
            let more = lost.saturating_sub(self.lost[point]);
            self.lost[point] = self.lost[point].max(lost);
            self.capture_lost[point] += more;
            let was_interrupted = std::mem::take(&mut self.is_interrupted[point]);
            if more > 0 || was_interrupted || vantage.is_blind() {
                doubt(&mut self.doubts[point], (from_ns, now_ns));
            }
        }
        self.looked_ns = now_ns;
    }

    /// Orders a round if one is due, and returns what one that is done says.
    ///
    /// # Errors
    /// The thread that compares is broken.
    pub fn look(&mut self) -> anyhow::Result<Option<Told>> {
        let is_due = self.began.elapsed() >= self.interval || self.gathering.len() >= self.many;
        if is_due && !self.is_at_work {
            self.order(None)?;
        }
        let told = self.told.try_recv().ok();
        self.is_at_work &= told.is_none();
        Ok(told)
    }

    /// The last rounds, once all workers have ended; nothing was watched for from `end_ns` on.
    ///
    /// # Errors
    /// The thread that compares is broken.
    pub fn finish(&mut self, end_ns: u64) -> anyhow::Result<Vec<Told>> {
        let mut last = Vec::new();
        if self.is_at_work {
            last.push(self.told.recv().map_err(|_| broken())?);
        }
        self.gathering.stop();
        self.order(Some(end_ns))?;
        last.push(self.told.recv().map_err(|_| broken())?);
        Ok(last)
    }

    fn order(&mut self, end_ns: Option<u64>) -> anyhow::Result<()> {
        self.began = Instant::now();
        let mut window = self.gathering.take();
        // Before what the captures lost is known nothing is called lost.
        window.reached_ns = window.reached_ns.min(self.known_ns);
        window.end_ns = end_ns.map(|end_ns| end_ns.min(self.gathering.end_ns()));
        window.findings = self.findings.take(u64::MAX);
        window.findings_not_kept = std::mem::take(&mut self.findings.not_kept);
        window.capture_lost = std::mem::take(&mut self.capture_lost);
        for (all, more) in window.doubts.iter_mut().zip(&mut self.doubts) {
            all.append(more);
        }
        self.is_at_work = true;
        self.orders.send(window).map_err(|_| broken())
    }
}

impl Desk<'_> {
    /// Compares if it is time to, and tells what is compared.
    pub(super) fn compare(&mut self) -> anyhow::Result<()> {
        let told = self.comparing.as_mut().map(Comparing::look).transpose()?;
        told.flatten().map_or(Ok(()), |told| self.tell_compared(told))
    }

    /// Tells what two interfaces say together.
    fn tell_compared(&mut self, told: Told) -> anyhow::Result<()> {
        let comparison = told.comparison.moved_by(self.drift_ns);
        if let Some(why) = told.trouble {
            let [first, second] = &comparison.names;
            complain(&format!("{first} and {second}: {why}; comparing goes on"));
        }
        if told.findings_not_kept > 0 {
            complain(&format!("{} findings were not compared: too many", told.findings_not_kept));
        }
        Ok(self.reporter.comparison(&self.contexts[0], &comparison)?)
    }

    /// Compares what is left at the end.
    pub(super) fn compare_rest(&mut self, end_ns: u64) -> anyhow::Result<()> {
        let Some(mut comparing) = self.comparing.take() else { return Ok(()) };
        comparing.finish(end_ns)?.into_iter().try_for_each(|told| self.tell_compared(told))
    }
}

fn broken() -> anyhow::Error {
    anyhow!("the thread that compares is broken; please report this defect")
}
