//! The couriers of all hooks, and their exchange while running.

use std::path::{Path, PathBuf};

use super::config::Hook;
use super::courier::{Counts, Courier};
use super::message::Message;

/// Those that deliver, and those that were dismissed and may still be in the middle of a try.
pub struct Couriers {
    spool_dir: PathBuf,
    running: Vec<Courier>,
    dismissed: Vec<Courier>,
    /// What those counted that are no more.
    past: Counts,
}

impl Couriers {
    /// One for each hook.
    ///
    /// # Errors
    /// A hook's spool or TLS settings can't be used.
    pub fn start(hooks: Vec<Hook>, spool_dir: &Path) -> anyhow::Result<Self> {
        let running = hooks.into_iter().map(|hook| Courier::start(hook, spool_dir));
        Ok(Self {
            running: running.collect::<anyhow::Result<_>>()?,
            dismissed: Vec::new(),
            spool_dir: spool_dir.to_owned(),
            past: Counts::default(),
        })
    }

    /// Tells each hook the end of what stood when an earlier run was cut off.
    pub fn settle(&mut self) {
        self.running.iter_mut().for_each(Courier::settle);
    }

    /// Spools what each hook wants.
    pub fn put(&mut self, messages: &[Message]) {
        if !messages.is_empty() {
            self.running.iter_mut().for_each(|courier| courier.put(messages));
        }
    }

    /// Delivers to these hooks from now on. Whose spool stays goes on with what waits there.
    pub fn exchange(&mut self, hooks: Vec<Hook>) {
        let mut before = std::mem::take(&mut self.running);
        for hook in hooks {
            let same = before.iter().position(|courier| courier.hook().folder == hook.folder);
            let courier = match same {
                Some(place) => Some(changed(before.swap_remove(place), hook)),
                None => self.hire(hook),
            };
            self.running.extend(courier);
        }
        before.iter().for_each(Courier::dismiss);
        self.dismissed.extend(before);
        self.forget(Courier::is_over);
    }

    fn hire(&mut self, hook: Hook) -> Option<Courier> {
        // One that was dismissed holds the spool until its last try is over.
        self.forget(|courier| courier.hook().folder == hook.folder);
        let name = hook.name.clone();
        match Courier::start(hook, &self.spool_dir) {
            Ok(mut courier) => {
                courier.is_late = true;
                courier.settle();
                Some(courier)
            }
            Err(error) => {
                tracing::error!("webhook {name}: {error:#}");
                None
            }
        }
    }

    /// Waits for the end of these, and keeps only what they counted.
    fn forget(&mut self, which: impl Fn(&Courier) -> bool) {
        let (gone, rest): (Vec<_>, _) =
            std::mem::take(&mut self.dismissed).into_iter().partition(which);
        self.dismissed = rest;
        gone.into_iter().for_each(|courier| self.past.add(&courier.end()));
    }

    /// The couriers that deliver.
    #[must_use]
    pub fn into_running(self) -> Vec<Courier> {
        self.running
    }

    /// All counts together; of what waits, what is to be delivered.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut sum = self.past;
        for courier in &self.dismissed {
            sum.add(&courier.standing().counts);
        }
        sum.waiting = 0;
        self.running.iter().for_each(|courier| sum.add(&courier.standing().counts));
        sum
    }
}

/// The courier with other settings of its hook.
fn changed(mut courier: Courier, hook: Hook) -> Courier {
    if *courier.hook() != hook {
        let name = hook.name.clone();
        if let Err(error) = courier.change(hook) {
            tracing::error!("webhook {name} goes on as before: {error:#}");
        }
    }
    courier
}
