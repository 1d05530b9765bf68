//! What is counted at one vantage point, and whether it goes on.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, anyhow};

use super::{Hand, Vantage};
use crate::health::Lost;
use crate::live::loss::Sample;
use crate::live::port::Port;
use crate::live::shared::Shown;
use crate::skips::Skips;
use crate::stats::{Live, Stats};

/// What the program did, by name.
type Outcomes = Vec<(&'static str, u64)>;

/// A worker that shows nothing for this long does not go on.
const SILENCE_MAX: Duration = Duration::from_secs(2);

impl Vantage {
    /// What keeps it from being ready: it is not attached, or a queue's worker does not go on.
    pub fn trouble(&self) -> Option<String> {
        if let Some((port, gap)) = self.blind() {
            return Some(format!("interface {}: {}", port.name(), gap.reason.word()));
        }
        let silent = self.silent_worker()?;
        let name = &self.name;
        Some(format!("interface {name}: nothing is heard of worker {silent}"))
    }

    /// The error of a worker that can't go on.
    pub fn failure(&mut self) -> Option<anyhow::Error> {
        let name = &self.name;
        if let Some(failed) = self.shown().find_map(|shown| shown.failure) {
            return Some(anyhow!("interface {name}: {failed}"));
        }
        // Threads end when they are told to, not before.
        let broken = self.threads.iter().find(|thread| thread.is_finished())?;
        let thread = broken.thread().name().unwrap_or("a thread");
        Some(anyhow!("interface {name}: {thread} is broken; please report this defect"))
    }

    /// A worker that hangs or has failed, by its number. Those of an interface in a gap go on.
    pub fn silent_worker(&self) -> Option<usize> {
        self.shown().position(|shown| {
            shown.failure.is_some() || shown.at.is_none_or(|at| at.elapsed() > SILENCE_MAX)
        })
    }

    /// Counts losses into the window, and tells the aggregator; `now` is since the start. Returns until
    /// when losses are known, nanoseconds: as long as every worker has shown its own.
    ///
    /// # Errors
    /// The counters can't be read.
    pub fn watch_losses(&mut self, now: Duration, is_end: bool) -> anyhow::Result<u64> {
        let shown_before =
            self.shown().map(|shown| shown.at.map_or(Duration::MAX, |at| at.elapsed()));
        let shown_before = shown_before.max().unwrap_or_default();
        let known_ns = u64::try_from(shown_before.as_nanos()).unwrap_or(u64::MAX);
        let known_ns = self.clock.now_ns().saturating_sub(known_ns);
        self.ports.iter_mut().for_each(Port::count_losses);
        let stats = self.stats(is_end)?;
        let live = stats.live.unwrap_or_default();
        let lost = Lost::of(&live, &stats.detector);
        let wanted = live.selected + live.not_handed_over;
        self.losses.sample(now, Sample { seen: live.seen, wanted, lost, late: live.late });
        let ppm = u32::try_from(self.losses.window().evidence_ppm).unwrap_or(u32::MAX);
        self.aggregator.loss_ppm.store(ppm, Ordering::Relaxed);
        Ok(known_ns)
    }

    /// Frames that it has lost itself on the way to its workers, when that was last watched.
    pub fn lost_itself(&self) -> u64 {
        let Lost { nic, xdp, ring, .. } = self.losses.latest().lost;
        nic + xdp + ring
    }

    /// Whether any of its interfaces shows nothing now.
    pub fn is_blind(&self) -> bool {
        self.blind().is_some()
    }

    /// Everything counted so far. At the end, when no frame is on its way any more, selected frames
    /// that reached neither a ring nor one of its loss counters are redirect errors.
    ///
    /// # Errors
    /// The counters can't be read.
    pub fn stats(&self, is_end: bool) -> anyhow::Result<Stats> {
        let mut live = Live::default();
        let mut skips = Skips::default();
        let mut stats = Stats { at_ns: self.clock.now_ns(), ..Stats::default() };
        for shown in self.shown() {
            live.beyond_count += shown.beyond_count;
            live.handoff_lost += shown.handoff_lost;
            live.late += shown.late;
            skips.add(&shown.skips);
            stats.detector.add(&shown.detector);
        }
        for port in &self.ports {
            let (of_port, outcomes) = self.of_port(port, is_end)?;
            live.add_interface(&of_port);
            stats.add_program(&outcomes);
            stats.interfaces.push((port.name().to_owned(), of_port));
        }
        let (gaps, gaps_ns) = self.gaps();
        (live.gaps, live.gap_ms) = (gaps, gaps_ns / 1_000_000);
        live.aggregator_lost = self.hands.iter().map(|hand| hand.outbox.lost()).sum();
        live.reporter_lost = self.aggregator.lost.load(Ordering::Relaxed);
        stats.aggregate = self.aggregator.counts();
        stats.census = self.aggregator.census();
        stats.balancers = self.aggregator.balancers();
        live.writer_lost = self.writer.as_ref().map_or(0, |writer| writer.headers().lost());
        stats.skipped = skips.counts();
        stats.loss = Some(self.losses.window());
        stats.live = Some(live);
        Ok(stats)
    }

    /// What was counted of one interface; and what the program did there, by outcome.
    fn of_port(&self, port: &Port, is_end: bool) -> anyhow::Result<(Live, Outcomes)> {
        let (mut live, place) = (Live::default(), port.place as usize);
        let outcomes =
            self.counters.read(port.place, &mut live).context("reading the program's counters")?;
        let mut in_rings_max = 0;
        for (hand, shown) in self.hands.iter().zip(self.shown()) {
            live.received += shown.received[place];
            live.bad_heads += shown.bad_heads[place];
            if hand.place == place {
                in_rings_max += self.ring_size;
                live.rx_ring_full += shown.losses.ring_full;
                live.rx_dropped += shown.losses.dropped;
                live.fill_ring_empty += shown.losses.fill_ring_empty;
            }
        }
        let found = live.received + live.rx_ring_full + live.rx_dropped;
        let on_the_way = if is_end { 0 } else { in_rings_max };
        live.redirect_errors = live.selected.saturating_sub(found + on_the_way);
        live.nic_lost = port.lost;
        Ok((live, outcomes))
    }

    pub(super) fn shown(&self) -> impl Iterator<Item = Shown> + '_ {
        let shown = |hand: &Hand| hand.shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.hands.iter().map(shown)
    }
}
