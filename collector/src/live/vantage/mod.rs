//! One interface under watch: loaded, opened, attached; stopped in the opposite order. What it counts
//! is in [`stats`], what it adds for evidence in [`evidence`].

mod evidence;
mod stats;

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle, Thread};

use anyhow::{Context, anyhow};
use tracing::{info, warn};
use xdpwatch_prog::maps::HEADERS_BYTES;

use super::bell::Bell;
use super::evidence::Window;
use super::lane::{Lane, Shared, Shown};
use super::loss::Losses;
use super::outbox::Outbox;
use super::plan::{Plan, settings};
use super::tuning::Tuning;
use super::writer::Writer;
use super::{Told, aggregator};
use crate::args::{Args, Mode, Owner};
use crate::capture::afxdp::{Queue, QueueConfig};
use crate::capture::clock::Clock;
use crate::capture::source::Source;
use crate::capture::sys::{self, Promiscuous};
use crate::capture::tap::Tap;
use crate::evidence::Document;
use crate::evidence::args::Setup;
use crate::handoff;
use crate::run::complain;
use crate::worker::{Detection, Worker};
use crate::xdp::interface::{Interface, mapped};
use crate::xdp::program::{Attachment, Program, ProgramCounters};

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
    bells: Arc<[Bell]>,
    /// A processor for each worker, where it is known.
    cpus: Vec<usize>,
    losses: Losses,
    /// Frames that a worker's ring holds; in tap mode heads and headers, at least 64 bytes each.
    ring_size: u64,
    /// The aggregator's thread, once it runs.
    aggregator_thread: Arc<OnceLock<Thread>>,
    aggregator: Arc<aggregator::Shown>,
    /// What a reload changes, for the workers.
    tuning: Arc<Tuning>,
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
        let Plan { interface, workers, cpus } = plan;
        let name = interface.name.clone();
        let mut program = Program::load(&settings(args, detection))
            .with_context(|| format!("interface {name}"))?;
        let addresses = interface.addresses.iter().map(|address| mapped(*address));
        program.set_local_addresses(addresses)?;
        let writer = args.write.as_ref().map(|path| Writer::create(path, &name)).transpose()?;
        let bells = (0..workers).map(|_| Bell::new()).collect::<Result<_, _>>();
        let mut vantage = Self {
            bells: bells.context("making the workers' bells; raise `ulimit -n`")?,
            cpus,
            losses: Losses::default(),
            ring_size: match args.live.mode {
                Mode::Afxdp => args.live.ring_size.into(),
                Mode::Tap => u64::from(HEADERS_BYTES) / 64,
            },
            aggregator_thread: Arc::default(),
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
            tuning: Arc::default(),
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
            // What made starting impossible counts for more than an empty file.
            let _ = vantage.join();
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
            busy_poll_us: args.live.busy_poll,
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
            bells: Arc::clone(&self.bells),
            aggregator: Arc::clone(&self.aggregator_thread),
            tuning: Arc::clone(&self.tuning),
        };
        let by_hash = args.live.owner == Owner::Hash;
        let seats = handoff::seats(workers, by_hash, detection.seeds[0]);
        let mut lanes = Vec::new();
        for (number, (source, seat)) in sources.into_iter().zip(seats).enumerate() {
            let (outbox, shown) = (Arc::new(Outbox::new()), Arc::default());
            self.outboxes.push(Arc::clone(&outbox));
            self.shown.push(Arc::clone(&shown));
            let worker = Worker::new(detection, workers);
            worker.use_huge_pages();
            let evidence = self.remember(args, detection);
            let shared = shared.clone();
            lanes.push(Lane { number, source, seat, worker, outbox, evidence, shown, shared });
        }
        for (number, lane) in lanes.into_iter().enumerate() {
            let cpu = self.cpus.get(number).copied();
            let run = move || {
                if let Some(Err(error)) = cpu.map(|cpu| sys::run_on(&[cpu])) {
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
        let (bells, detection) = (Arc::clone(&self.bells), detection.clone());
        let run = move || aggregator::run(number, &outboxes, &detection, &bells, &tell, &shown);
        let thread = thread::Builder::new().name("aggregator".to_owned()).spawn(run);
        let thread = thread.context("starting the aggregator's thread")?;
        // Set once: there is one aggregator.
        let _ = self.aggregator_thread.set(thread.thread().clone());
        self.threads.push(thread);
        Ok(())
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

    /// What a reload may change counts from now on.
    pub fn retune(&self, detection: &Detection) {
        self.tuning.change(detection);
        self.aggregator.tuning.change(detection);
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
    ///
    /// # Errors
    /// Those of writing that file, at any time.
    pub fn join(&mut self) -> anyhow::Result<()> {
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                warn!("a thread of interface {} failed", self.interface.name);
            }
        }
        let written = self.writer.as_mut().map_or(Ok(()), Writer::close);
        written.context(
            "writing headers (-w) failed; the file lacks the last of them, make room for it",
        )
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
        if let Some(failed) = self.shown().find_map(|shown| shown.failure) {
            return Some(anyhow!("interface {name}: {failed}"));
        }
        // Threads end when they are told to, not before.
        let broken = self.threads.iter().find(|thread| thread.is_finished())?;
        let thread = broken.thread().name().unwrap_or("a thread");
        Some(anyhow!("interface {name}: {thread} is broken; please report this defect"))
    }

    /// Its clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }
}
