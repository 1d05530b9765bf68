//! One interface under watch: checked, loaded, opened, attached; stopped in the opposite order.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow};
use tracing::{info, warn};

use super::evidence::{Stage, Window};
use super::lane::{Lane, Shared, Shown};
use super::outbox::Outbox;
use super::writer::Writer;
use super::{FINDINGS_WAITING, Told, aggregator};
use crate::args::{Args, Mode, Owner, Select};
use crate::capture::afxdp::{Queue, QueueConfig};
use crate::capture::clock::Clock;
use crate::capture::source::Source;
use crate::capture::sys::{self, Promiscuous};
use crate::capture::tap::Tap;
use crate::evidence::Document;
use crate::evidence::args::Setup;
use crate::evidence::history::{History, Keep};
use crate::handoff;
use crate::run::complain;
use crate::skips::Skips;
use crate::stats::{Live, Stats};
use crate::worker::{Detection, Worker};
use crate::xdp::interface::{Interface, mapped};
use crate::xdp::program::{Attachment, Program, ProgramCounters, Settings, check_queues};
use crate::xdp::safety::{self, Intent};

/// An interface that was looked at and found fit; nothing is changed yet.
#[derive(Debug)]
pub struct Plan {
    interface: Interface,
}

/// Looks at an interface and refuses what must be refused.
///
/// # Errors
/// Why it can't, or must not, be captured on.
pub fn plan(name: &str, args: &Args) -> anyhow::Result<Plan> {
    let interface = Interface::look_up(name)?;
    let untouched = args.live.encap.is_some() || args.live.mode == Mode::Tap;
    let intent = match (untouched, args.live.consume) {
        (true, _) => Intent::Untouched,
        (false, true) => Intent::Consume,
        (false, false) => Intent::Mirror,
    };
    safety::check(&interface, intent)?;
    check_queues(name, interface.queues)?;
    Ok(Plan { interface })
}

/// A worker that shows nothing for this long does not go on.
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// Where what is found goes.
pub struct Outward {
    /// To the reporter.
    pub tell: SyncSender<Told>,
    /// To files, if evidence is kept.
    pub keeping: Option<(Setup, SyncSender<Document>)>,
}

/// An interface under watch.
pub struct Vantage {
    interface: Interface,
    lost_before: u64,
    program: Program,
    counters: ProgramCounters,
    attachment: Option<Attachment>,
    promiscuous: Option<Promiscuous>,
    stop: Arc<AtomicBool>,
    clock: Clock,
    shown: Vec<Arc<Mutex<Shown>>>,
    outboxes: Vec<Arc<Outbox>>,
    windows: Vec<Arc<Window>>,
    aggregator: Arc<aggregator::Shown>,
    /// How frames come in, in words.
    receives: String,
    writer: Option<Writer>,
    threads: Vec<JoinHandle<()>>,
}

impl Vantage {
    /// Starts watching; `number` tells this vantage point's findings from others'.
    ///
    /// # Errors
    /// Whatever the kernel refuses, with its cure. Nothing stays changed then.
    pub fn start(
        plan: Plan,
        number: usize,
        args: &Args,
        detection: &Detection,
        outward: Outward,
        left: Option<Arc<AtomicI64>>,
    ) -> anyhow::Result<Self> {
        let Plan { interface } = plan;
        let name = interface.name.clone();
        let mut program = Program::load(&settings(args, detection))
            .with_context(|| format!("interface {name}"))?;
        let addresses = interface.addresses.iter().map(|address| mapped(*address));
        program.set_local_addresses(addresses)?;
        let writer = args.write.as_ref().map(|path| Writer::create(path, &name)).transpose()?;
        let mut vantage = Self {
            lost_before: interface.lost(),
            counters: program.take_counters()?,
            program,
            attachment: None,
            promiscuous: None,
            stop: Arc::default(),
            clock: Clock::start(),
            shown: Vec::new(),
            outboxes: Vec::new(),
            windows: Vec::new(),
            aggregator: Arc::default(),
            receives: String::new(),
            writer,
            threads: Vec::new(),
            interface,
        };
        let started = match args.live.mode {
            Mode::Afxdp => vantage.start_afxdp(args, detection, left),
            Mode::Tap => vantage.start_tap(args, detection, left),
        };
        let attached = started
            .and_then(|()| vantage.start_aggregator(number, detection, outward))
            .and_then(|()| vantage.attach(args));
        if let Err(error) = attached {
            vantage.stop();
            vantage.join();
            return Err(error.context(format!("interface {name}")));
        }
        Ok(vantage)
    }

    fn start_afxdp(
        &mut self,
        args: &Args,
        detection: &Detection,
        left: Option<Arc<AtomicI64>>,
    ) -> anyhow::Result<()> {
        let config = QueueConfig {
            interface: self.interface.name.clone(),
            ring_size: args.live.ring_size,
            mtu: self.interface.mtu,
        };
        let mut queues = Vec::new();
        let mut zero_copy = 0;
        for number in 0..self.interface.queues {
            let queue = Queue::open(number, &config)?;
            let is_zero_copy = queue.is_zero_copy()?;
            zero_copy += u32::from(is_zero_copy);
            let copying = if is_zero_copy { "zero copy" } else { "the kernel copies" };
            info!(interface = config.interface, queue = number, "receiving: {copying}");
            self.program.set_socket(number, &queue.fd())?;
            queues.push(queue);
        }
        self.receives = format!("{} receive queues, {zero_copy} with zero copy", queues.len());
        self.start_lanes(queues, args, detection, left)
    }

    fn start_tap(
        &mut self,
        args: &Args,
        detection: &Detection,
        left: Option<Arc<AtomicI64>>,
    ) -> anyhow::Result<()> {
        let tap = Tap::new(self.program.take_headers()?);
        "copies of headers, every frame passes on".clone_into(&mut self.receives);
        self.start_lanes(vec![tap], args, detection, left)
    }

    fn start_lanes<S: Source + 'static>(
        &mut self,
        sources: Vec<S>,
        args: &Args,
        detection: &Detection,
        left: Option<Arc<AtomicI64>>,
    ) -> anyhow::Result<()> {
        let workers = sources.len();
        let shared = Shared {
            stop: Arc::clone(&self.stop),
            left,
            headers: self.writer.as_ref().map(Writer::headers),
            clock: self.clock,
        };
        let by_hash = args.live.owner == Owner::Hash;
        let seats = handoff::seats(workers, by_hash, detection.seeds[0]);
        let mut lanes = Vec::new();
        for (source, seat) in sources.into_iter().zip(seats) {
            let (outbox, shown) = (Arc::new(Outbox::new()), Arc::default());
            self.outboxes.push(Arc::clone(&outbox));
            self.shown.push(Arc::clone(&shown));
            let worker = Worker::new(detection, workers);
            let evidence = self.remember(args, detection);
            let shared = shared.clone();
            lanes.push(Lane { source, seat, worker, outbox, evidence, shown, shared });
        }
        let cpus = args.live.cpus.as_ref().map_or_else(sys::allowed_cpus, |list| list.0.clone());
        for (number, lane) in lanes.into_iter().enumerate() {
            let cpu = (!cpus.is_empty()).then(|| cpus[number % cpus.len()]);
            let run = move || {
                if let Some(Err(error)) = cpu.map(sys::pin_to) {
                    warn!(
                        "worker {number} can't be pinned: {error}; it runs anywhere (see --cpus)"
                    );
                }
                lane.run();
            };
            let thread = thread::Builder::new().name(format!("worker-{number}")).spawn(run);
            self.threads.push(thread.context("starting a worker's thread")?);
        }
        Ok(())
    }

    /// What a worker remembers for evidence.
    fn remember(&mut self, args: &Args, detection: &Detection) -> Option<(History, Arc<Window>)> {
        args.evidence.evidence_dir.as_ref()?;
        // The program has made its choice already, unless it was told not to.
        let keep = match args.live.select {
            Select::Control => Keep::All,
            Select::All => Keep::Transitions,
        };
        let window = Arc::new(Window::new());
        self.windows.push(Arc::clone(&window));
        let depth = args.evidence.history as usize;
        Some((History::new(depth, 0, keep, detection.seeds[2]), window))
    }

    fn start_aggregator(
        &mut self,
        number: usize,
        detection: &Detection,
        outward: Outward,
    ) -> anyhow::Result<()> {
        let tell = match outward.keeping {
            Some((setup, files)) => self.start_stage(&setup, files, outward.tell)?,
            None => outward.tell,
        };
        let outboxes = self.outboxes.clone();
        let shown = Arc::clone(&self.aggregator);
        let seeds = detection.seeds;
        let run = move || aggregator::run(number, &outboxes, seeds, &tell, &shown);
        let thread = thread::Builder::new().name("aggregator".to_owned()).spawn(run);
        self.threads.push(thread.context("starting the aggregator's thread")?);
        Ok(())
    }

    /// Puts the stage that adds evidence before `tell`; returns what comes before the stage.
    fn start_stage(
        &mut self,
        setup: &Setup,
        files: SyncSender<Document>,
        tell: SyncSender<Told>,
    ) -> anyhow::Result<SyncSender<Told>> {
        let stage = Stage {
            windows: self.windows.clone(),
            clerk: setup.clerk(&self.interface.name),
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

    /// The last step: everything that frames will need is in place.
    fn attach(&mut self, args: &Args) -> anyhow::Result<()> {
        let Interface { name, index, mtu, .. } = &self.interface;
        if args.live.encap.is_none() && args.live.mode == Mode::Afxdp {
            let joined = Promiscuous::join(*index)
                .context("asking for promiscuous mode; run it as root or give it CAP_NET_RAW")?;
            self.promiscuous = Some(joined);
        }
        let attachment = self.program.attach(*index, *mtu, args.live.xdp_mode)?;
        let place = if attachment.in_driver { "in the driver" } else { "in generic mode" };
        complain(&format!("watching {name}: XDP {place}, {}", self.receives));
        self.attachment = Some(attachment);
        Ok(())
    }

    /// Detaches, and tells the workers to take what is left and end.
    pub fn stop(&mut self) {
        self.attachment = None;
        self.promiscuous = None;
        self.stop.store(true, Ordering::Release);
    }

    /// Whether every thread has ended.
    pub fn is_ended(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits for the threads, and closes the file of `-w`.
    pub fn join(&mut self) {
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                warn!("a thread of interface {} failed", self.interface.name);
            }
        }
        if let Some(Err(error)) = self.writer.as_mut().map(Writer::close) {
            warn!("writing headers (-w) failed: {error}");
        }
    }

    /// The error of a worker that can't go on.
    pub fn failure(&mut self) -> Option<anyhow::Error> {
        let name = &self.interface.name;
        if !self.interface.is_there() {
            return Some(anyhow!(
                "interface {name} has disappeared, and with it the XDP program; start again when it \
                 is back"
            ));
        }
        let failed = self.shown().find_map(|shown| shown.failure)?;
        Some(anyhow!("interface {name}: receiving failed: {failed}"))
    }

    /// What keeps it from being ready: it is not attached, or a queue's worker does not go on.
    pub fn trouble(&self) -> Option<String> {
        let name = &self.interface.name;
        if self.attachment.is_none() {
            return Some(format!("interface {name}: not attached"));
        }
        let silent = self.shown().position(|shown| {
            shown.failure.is_some() || shown.at.is_none_or(|at| at.elapsed() > SILENCE_MAX)
        })?;
        Some(format!("interface {name}: nothing is heard of the worker of queue {silent}"))
    }

    /// Its clock.
    pub fn clock(&self) -> Clock {
        self.clock
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
            live.handoff_lost += shown.handoff_lost;
            live.late += shown.late;
            live.rx_ring_full += shown.losses.ring_full;
            live.rx_dropped += shown.losses.dropped;
            live.fill_ring_empty += shown.losses.fill_ring_empty;
            skips.add(&shown.skips);
            stats.detector.add(&shown.detector);
        }
        if is_end {
            let found = live.received + live.rx_ring_full + live.rx_dropped;
            live.redirect_errors = live.selected.saturating_sub(found);
        }
        live.nic_lost = self.interface.lost().saturating_sub(self.lost_before);
        live.aggregator_lost = self.outboxes.iter().map(|outbox| outbox.lost()).sum();
        live.reporter_lost = self.aggregator.lost.load(Ordering::Relaxed);
        stats.aggregate = self.aggregator.counts();
        live.writer_lost = self.writer.as_ref().map_or(0, |writer| writer.headers().lost());
        stats.skipped = skips.counts();
        stats.live = Some(live);
        Ok(stats)
    }

    fn shown(&self) -> impl Iterator<Item = Shown> + '_ {
        self.shown
            .iter()
            .map(|shown| shown.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone())
    }
}

fn settings(args: &Args, detection: &Detection) -> Settings {
    let live = &args.live;
    let ns = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    Settings {
        select_all: live.select == Select::All,
        pass_other: live.pass_other,
        tap: live.mode == Mode::Tap,
        encap: live.encap,
        syn_window_ns: ns(live.syn_window),
        fin_window_ns: ns(live.fin_window),
        filter_seed: detection.seeds[1],
        filter_slots: live.filter_slots,
    }
}
