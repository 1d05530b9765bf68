//! What a vantage point adds where evidence is kept: a history for each worker, and a stage before the
//! reporter.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use anyhow::Context;

use super::Vantage;
use crate::args::Args;
use crate::evidence::Document;
use crate::evidence::args::Setup;
use crate::evidence::history::{History, Keep};
use crate::live::evidence::{Stage, Window};
use crate::live::{FINDINGS_WAITING, Told};
use crate::worker::Detection;

impl Vantage {
    /// What a worker remembers for evidence.
    pub(super) fn remember(
        &mut self,
        args: &Args,
        detection: &Detection,
    ) -> Option<(History, Arc<Window>)> {
        args.evidence.evidence_dir.as_ref()?;
        // The program has made its choice already, unless it was told not to.
        let keep = if args.selects_all() { Keep::Transitions } else { Keep::All };
        let window = Arc::new(Window::new());
        self.windows.push(Arc::clone(&window));
        let depth = args.evidence.history as usize;
        Some((History::new(depth, 0, keep, detection.seeds[2]), window))
    }

    /// Puts the stage that adds evidence before `tell`; returns what comes before the stage.
    pub(super) fn start_stage(
        &mut self,
        setup: &Setup,
        files: SyncSender<Document>,
        tell: SyncSender<Told>,
    ) -> anyhow::Result<SyncSender<Told>> {
        let stage = Stage {
            windows: self.windows.clone(),
            bells: Arc::clone(&self.bells),
            clerk: setup.clerk(&self.name),
            files,
            tell,
            shown: Arc::clone(&self.aggregator),
        };
        let (before, told) = sync_channel(FINDINGS_WAITING);
        let run = move || stage.run(&told);
        let thread = thread::Builder::new().name("evidence".to_owned()).spawn(run);
        self.threads.push(thread.context("starting the thread that gathers evidence")?);
        Ok(before)
    }
}
