//! What is counted at one vantage point, and whether it goes on.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;

use super::Vantage;
use crate::health::Lost;
use crate::live::lane::Shown;
use crate::live::loss::Sample;
use crate::skips::Skips;
use crate::stats::{Live, Stats};

/// A worker that shows nothing for this long does not go on.
const SILENCE_MAX: Duration = Duration::from_secs(2);

impl Vantage {
    /// What keeps it from being ready: it is not attached, or a queue's worker does not go on.
    pub fn trouble(&self) -> Option<String> {
        let name = &self.interface.name;
        if self.attachment.is_none() {
            return Some(format!("interface {name}: not attached"));
        }
        let silent = self.silent_worker()?;
        Some(format!("interface {name}: nothing is heard of the worker of queue {silent}"))
    }

    /// A worker that hangs or has failed, by its queue.
    pub fn silent_worker(&self) -> Option<usize> {
        self.shown().position(|shown| {
            shown.failure.is_some() || shown.at.is_none_or(|at| at.elapsed() > SILENCE_MAX)
        })
    }

    /// Counts losses into the window, and tells the aggregator; `now` is since the start.
    ///
    /// # Errors
    /// The counters can't be read.
    pub fn watch_losses(&mut self, now: Duration, is_end: bool) -> anyhow::Result<()> {
        let stats = self.stats(is_end)?;
        let live = stats.live.unwrap_or_default();
        let lost = Lost::of(&live, &stats.detector);
        let wanted = live.selected + live.not_handed_over;
        self.losses.sample(now, Sample { seen: live.seen, wanted, lost });
        let ppm = u32::try_from(self.losses.window().evidence_ppm).unwrap_or(u32::MAX);
        self.aggregator.loss_ppm.store(ppm, Ordering::Relaxed);
        Ok(())
    }

    /// Frames that the rings hold at most.
    fn in_rings_max(&self) -> u64 {
        self.shown.len() as u64 * self.ring_size
    }

    /// Everything counted so far. At the end, when no frame is on its way any more, selected frames
    /// that reached neither a ring nor one of its loss counters are redirect errors.
    ///
    /// # Errors
    /// The counters can't be read.
    pub fn stats(&self, is_end: bool) -> anyhow::Result<Stats> {
        let mut live = Live::default();
        let program = self.counters.read(&mut live).context("reading the program's counters")?;
        let mut skips = Skips::default();
        let mut stats = Stats { at_ns: self.clock.now_ns(), program, ..Stats::default() };
        for shown in self.shown() {
            live.received += shown.received;
            live.bad_heads += shown.bad_heads;
            live.beyond_count += shown.beyond_count;
            live.handoff_lost += shown.handoff_lost;
            live.late += shown.late;
            live.rx_ring_full += shown.losses.ring_full;
            live.rx_dropped += shown.losses.dropped;
            live.fill_ring_empty += shown.losses.fill_ring_empty;
            skips.add(&shown.skips);
            stats.detector.add(&shown.detector);
        }
        let found = live.received + live.rx_ring_full + live.rx_dropped;
        let on_the_way = if is_end { 0 } else { self.in_rings_max() };
        live.redirect_errors = live.selected.saturating_sub(found + on_the_way);
        live.nic_lost = self.interface.lost().saturating_sub(self.lost_before);
        live.aggregator_lost = self.outboxes.iter().map(|outbox| outbox.lost()).sum();
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

    pub(super) fn shown(&self) -> impl Iterator<Item = Shown> + '_ {
        self.shown.iter().map(|shown| shown.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}
