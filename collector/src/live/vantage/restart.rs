//! What a vantage point takes over from the run before, and what it leaves for the next: the flows, and
//! the time scale that their times are on.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::info;
use xdpwatch_core::watch::owner_of;

use super::Vantage;
use crate::args::{Args, Owner};
use crate::capture::clock::Clock;
use crate::capture::sys;
use crate::interruption::{Interruption, Reason};
use crate::log::complain;
use crate::state_file::scale::{Scale, boot};
use crate::state_file::{Head, Loaded, Refused, Saver, load};
use crate::usage::Usage;
use crate::worker::{Detection, Worker};

/// The run before.
pub struct Before {
    /// The scale of this run's times.
    pub clock: Clock,
    /// Its flows, and by how much their times are moved, nanoseconds.
    loaded: Option<(Loaded, i64)>,
    /// When it ended, on this run's scale, nanoseconds.
    pub ended_ns: Option<u64>,
}

impl Before {
    /// Looks for its state file and says what is wrong with it, if anything is. Times go by `clock`, unless
    /// they go on with the run before.
    ///
    /// # Errors
    /// Something that is no state file is in its place.
    pub fn look(args: &Args, clock: Clock) -> anyhow::Result<Self> {
        let nothing = || Self { clock, loaded: None, ended_ns: None };
        let Some(path) = &args.state.state_file else { return Ok(nothing()) };
        let max_age = args.state.state_max_age.unwrap_or(args.horizon);
        Ok(match load(path, args.vlan_key, max_age, age) {
            Ok(None) => nothing(),
            Ok(Some(loaded)) => {
                let Head { scale, written_ns, .. } = &loaded.head;
                let (clock, later_ns) = match scale.is_of_this_boot() {
                    true => (Clock::resume(scale.offset_ns), 0),
                    false => (clock, scale.drift_ns),
                };
                let ended_ns = Some(written_ns.saturating_add_signed(later_ns));
                Self { clock, loaded: Some((loaded, later_ns)), ended_ns }
            }
            Err(refused @ Refused::Foreign(_)) => {
                anyhow::bail!(Usage(format!("--state-file {}: {refused}", path.display())))
            }
            Err(refused) => {
                let path = path.display();
                complain(&format!("the state file {path} is not read: {refused}"));
                nothing()
            }
        })
    }

    /// Gives every flow to the worker that owns its tuple now; where that is whoever receives it, to all.
    pub fn restore(&mut self, workers: &mut [Worker], args: &Args, detection: &Detection) {
        let Some((loaded, later_ns)) = self.loaded.take() else { return };
        let (now_ns, seed, count) = (self.clock.now_ns(), detection.seeds[0], workers.len());
        let by_hash = args.live.owner == Owner::Hash && count > 1;
        let (mut found, mut taken) = (0u64, 0u64);
        let read = loaded.each(later_ns, |saved| {
            found += 1;
            let is_taken = if by_hash {
                workers[owner_of(&saved.tuple.key(), seed, count)].restore(saved, now_ns)
            } else {
                // All of them, not only up to the first that has room.
                workers
                    .iter_mut()
                    .map(|worker| worker.restore(saved, now_ns))
                    .fold(false, |a, b| a | b)
            };
            taken += u64::from(is_taken);
        });
        match read {
            Ok(()) => info!("{taken} of {found} tuples of the run before are remembered"),
            Err(error) => complain(&format!("the state file was read only in part: {error}")),
        }
        if taken < found {
            info!("{} of them are past their time or found no place", found - taken);
        }
    }
}

/// How long ago a file was written.
fn age(head: &Head) -> Duration {
    let Head { scale, written_ns, .. } = head;
    let ns = match scale.is_of_this_boot() {
        true => Clock::resume(scale.offset_ns).now_ns().saturating_sub(*written_ns),
        // After a step of the clock it may be to come.
        false => sys::realtime_ns().abs_diff(written_ns.saturating_add_signed(scale.drift_ns)),
    };
    Duration::from_nanos(ns)
}

impl Vantage {
    /// Watching has begun: what was taken over is not to be taken over again, and nothing was seen since
    /// the run before ended.
    pub(super) fn has_restarted(&mut self, ended_ns: u64, path: &Path) {
        if let Err(error) = std::fs::remove_file(path) {
            complain(&format!("the state file {} can't be removed: {error}", path.display()));
        }
        let now_ns = self.clock.now_ns();
        self.aggregator.blind_until_us.store(now_ns / 1000, Ordering::Relaxed);
        let gap_ns = now_ns.saturating_sub(ended_ns);
        self.count_gap(gap_ns);
        self.untold.extend(self.ports.iter().map(|port| Interruption {
            at_ns: now_ns,
            iface: port.name().to_owned(),
            reason: Reason::Restart,
            gap_ns: Some(gap_ns),
        }));
    }

    /// Begins the state file; workers add what they hold as they end.
    pub fn keep_state(&mut self, args: &Args) {
        let Some(path) = &args.state.state_file else { return };
        let scale = Scale {
            boot: boot(),
            offset_ns: self.clock.offset_ns(),
            drift_ns: self.clock.drift_ns(),
        };
        let head = Head { scale, written_ns: self.clock.now_ns(), vlan_key: args.vlan_key };
        // Set once: a vantage point ends once.
        let _ = self.saver.set(Saver::begin(path, &head));
    }

    /// Puts the state file in its place, once all workers have ended.
    pub(super) fn finish_state(&mut self) -> anyhow::Result<()> {
        let saver = std::mem::take(&mut self.saver);
        let Some(saver) =
            std::sync::Arc::into_inner(saver).and_then(std::sync::OnceLock::into_inner)
        else {
            return Ok(());
        };
        let tuples = saver.finish()?;
        info!("{tuples} tuples are kept for the next run");
        Ok(())
    }
}
