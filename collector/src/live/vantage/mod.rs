//! A vantage point: one interface, or several that feed one set of tables (a tap that splits the
//! directions), under watch: loaded, opened, attached; stopped in the opposite order. What it counts is
//! in [`stats`], what it adds for evidence in [`evidence`], what becomes of interfaces that change in
//! [`life`], what outlasts the process in [`restart`].

mod evidence;
mod life;
mod restart;
mod stats;

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle, Thread};

use anyhow::Context;
use tracing::{info, warn};
use xdpwatch_prog::maps::HEADERS_BYTES;

use super::bell::Bell;
use super::evidence::Window;
use super::intake::{Inlet, Intake};
use super::lane::Lane;
use super::loss::Losses;
use super::outbox::Outbox;
use super::plan::{Plan, settings};
use super::port::Port;
use super::recorder::Recorder;
use super::shared::{Shared, Shown};
use super::tuning::Tuning;
use super::writer::Writer;
use super::{Told, aggregator};
use crate::args::{Args, Mode, Owner};
use crate::capture::afxdp::{Queue, QueueConfig};
use crate::capture::clock::Clock;
use crate::capture::source::Source;
use crate::capture::sys;
use crate::capture::tap::Tap;
use crate::evidence::Document;
use crate::evidence::args::Setup;
use crate::handoff;
use crate::interruption::Interruption;
use crate::log::{complain, every};
use crate::state_file::Saver;
use crate::worker::{Detection, Worker};
use crate::xdp::interface::mapped;
use crate::xdp::link::Links;
use crate::xdp::program::{Program, ProgramCounters};
use restart::Before;

/// Where what is found goes.
pub struct Outward {
    /// To the reporter.
    pub tell: SyncSender<Told>,
    /// To files, if evidence is kept.
    pub keeping: Option<(Setup, SyncSender<Document>)>,
}

/// A worker as its vantage point knows it.
struct Hand {
    /// Which interface's queues it takes.
    place: usize,
    shown: Arc<Mutex<Shown>>,
    outbox: Arc<Outbox>,
    /// How it gets other queues; in tap mode its source never changes.
    inlet: Option<Arc<Inlet<Queue>>>,
}

/// Interfaces under watch, as one.
pub struct Vantage {
    /// The interfaces' names, joined.
    name: String,
    ports: Vec<Port>,
    links: Links,
    /// When the interfaces were last looked at, nanoseconds.
    looked_ns: u64,
    /// Gaps that are over: how many, and how long together, nanoseconds.
    gaps: u64,
    gaps_ns: u64,
    /// What is to be told of the run before.
    untold: Vec<Interruption>,
    /// Where workers leave what they hold for the next run.
    saver: Arc<OnceLock<Saver>>,
    /// What was said last of an interface that can't be opened again.
    complained: String,
    program: Program,
    counters: ProgramCounters,
    stop: Arc<AtomicBool>,
    clock: Clock,
    hands: Vec<Hand>,
    /// Where its workers leave segments to be compared, if they do.
    pub recorders: Vec<Arc<Recorder>>,
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
    /// How frames come in at each interface, in words.
    receives: Vec<String>,
    writer: Option<Writer>,
    threads: Vec<JoinHandle<()>>,
}

/// What a vantage point of these interfaces is called.
pub fn joined(names: &[String]) -> String {
    names.join("+")
}

impl Vantage {
    /// Starts watching; `number` tells this vantage point's findings from others', `clock` is that of all
    /// of them.
    ///
    /// # Errors
    /// Whatever the kernel refuses, with its cure. Nothing stays changed then.
    pub fn start(
        mut plans: Vec<Plan>,
        number: usize,
        clock: Clock,
        args: &Args,
        detection: &Detection,
        outward: Outward,
        left: Option<Arc<AtomicI64>>,
    ) -> anyhow::Result<Self> {
        let names: Vec<_> = plans.iter().map(|plan| plan.interface.name.clone()).collect();
        let name = joined(&names);
        let workers = plans.iter().map(|plan| plan.workers).sum();
        let cpus = plans.iter_mut().flat_map(|plan| std::mem::take(&mut plan.cpus)).collect();
        let mut before = Before::look(args, clock)?;
        let mut program = Program::load(&settings(plans.len(), args, detection))
            .with_context(|| format!("interface {name}"))?;
        let addresses = plans.iter().flat_map(|plan| &plan.interface.addresses);
        program.set_local_addresses(addresses.map(|address| mapped(*address)))?;
        let interfaces = names.iter().map(String::as_str);
        let writer =
            args.write.as_ref().map(|path| Writer::create(path, interfaces)).transpose()?;
        let bells = (0..workers).map(|_| Bell::new()).collect::<Result<_, _>>();
        let mut vantage = Self {
            name,
            links: Links::open().context("opening a netlink socket to watch the interfaces")?,
            looked_ns: 0,
            gaps: 0,
            gaps_ns: 0,
            complained: String::new(),
            untold: Vec::new(),
            saver: Arc::default(),
            bells: bells.context("making the workers' bells; raise `ulimit -n`")?,
            cpus,
            losses: Losses::default(),
            ring_size: match args.live.mode {
                Mode::Afxdp => args.live.ring_size.into(),
                Mode::Tap => u64::from(HEADERS_BYTES) / 64,
            },
            aggregator_thread: Arc::default(),
            ports: (0..).zip(plans).map(|(place, plan)| Port::new(place, plan)).collect(),
            counters: program.take_counters()?,
            program,
            stop: Arc::default(),
            clock: before.clock,
            hands: Vec::new(),
            recorders: Vec::new(),
            windows: Vec::new(),
            aggregator: Arc::default(),
            tuning: Arc::default(),
            receives: Vec::new(),
            writer,
            threads: Vec::new(),
        };
        let started = match args.live.mode {
            Mode::Afxdp => vantage.start_afxdp(args, detection, left, &mut before),
            Mode::Tap => vantage.start_tap(args, detection, left, &mut before),
        };
        let attached = started
            .and_then(|()| vantage.start_aggregator(number, detection, outward))
            .and_then(|()| vantage.attach(args));
        if let Err(error) = attached {
            vantage.stop();
            // What made starting impossible counts for more than an empty file.
            let _ = vantage.join();
            return Err(error.context(format!("interface {}", vantage.name)));
        }
        if let Some((ended_ns, path)) = before.ended_ns.zip(args.state.state_file.as_deref()) {
            vantage.has_restarted(ended_ns, path);
        }
        Ok(vantage)
    }

    fn start_afxdp(
        &mut self,
        args: &Args,
        detection: &Detection,
        left: Option<Arc<AtomicI64>>,
        before: &mut Before,
    ) -> anyhow::Result<()> {
        let mut queues = Vec::new();
        for place in 0..self.ports.len() {
            queues.extend(self.open(place, args)?.into_iter().map(|queue| (place, queue)));
        }
        self.start_lanes(queues, Some, args, detection, left, before)
    }

    /// Opens every receive queue of an interface.
    fn open(&mut self, place: usize, args: &Args) -> anyhow::Result<Vec<Queue>> {
        let port = &self.ports[place];
        let config = QueueConfig {
            interface: port.name().to_owned(),
            ring_size: args.live.ring_size,
            mtu: port.interface.mtu,
            busy_poll_us: args.live.busy_poll,
        };
        let mut queues = Vec::new();
        let mut zero_copy = 0;
        for number in 0..port.interface.queues {
            let queue = Queue::open(number, &config)
                .with_context(|| format!("interface {}", config.interface))?;
            let is_zero_copy = queue.is_zero_copy()?;
            zero_copy += u32::from(is_zero_copy);
            let copying = if is_zero_copy { "zero copy" } else { "the kernel copies" };
            info!(interface = config.interface, queue = number, "receiving: {copying}");
            self.program.set_socket(port.place, number, &queue.fd())?;
            queues.push(queue);
        }
        let receives = format!("{} receive queues, {zero_copy} with zero copy", queues.len());
        match self.receives.get_mut(place) {
            Some(known) => *known = receives,
            None => self.receives.push(receives),
        }
        Ok(queues)
    }

    /// One ring buffer for all interfaces, and one worker.
    fn start_tap(
        &mut self,
        args: &Args,
        detection: &Detection,
        left: Option<Arc<AtomicI64>>,
        before: &mut Before,
    ) -> anyhow::Result<()> {
        let tap = Tap::new(self.program.take_headers()?);
        let receives = "copies of headers, every frame passes on".to_owned();
        self.receives = vec![receives; self.ports.len()];
        self.start_lanes(vec![(0, tap)], |_| None, args, detection, left, before)
    }

    fn start_lanes<S: Source + 'static>(
        &mut self,
        sources: Vec<(usize, S)>,
        keep: impl Fn(Arc<Inlet<S>>) -> Option<Arc<Inlet<Queue>>>,
        args: &Args,
        detection: &Detection,
        left: Option<Arc<AtomicI64>>,
        before: &mut Before,
    ) -> anyhow::Result<()> {
        let workers = sources.len();
        let shared = Shared {
            stop: Arc::clone(&self.stop),
            left,
            headers: self.writer.as_ref().map(Writer::headers),
            clock: self.clock,
            bells: Arc::clone(&self.bells),
            aggregator: Arc::clone(&self.aggregator_thread),
            saver: Arc::clone(&self.saver),
            tuning: Arc::clone(&self.tuning),
        };
        let by_hash = args.live.owner == Owner::Hash;
        let seats = handoff::seats(workers, by_hash, detection.seeds[0]);
        let mut crew = Worker::crew(detection, workers)?;
        crew.iter().for_each(Worker::use_huge_pages);
        crew.iter().for_each(Worker::populate);
        before.restore(&mut crew, args, detection);
        let mut lanes = Vec::new();
        let places = sources.into_iter().zip(seats).zip(crew);
        for (number, (((place, source), seat), worker)) in places.enumerate() {
            let (outbox, shown) = (Arc::new(Outbox::new()), Arc::default());
            let inlet = Arc::new(Inlet::default());
            self.hands.push(Hand {
                place,
                shown: Arc::clone(&shown),
                outbox: Arc::clone(&outbox),
                inlet: keep(Arc::clone(&inlet)),
            });
            let evidence = self.remember(args, detection);
            let recorder = args.compare.then(|| Arc::new(Recorder::new()));
            self.recorders.extend(recorder.clone());
            let (shared, intake) = (shared.clone(), Intake::new(inlet, vec![source]));
            lanes.push(Lane {
                number,
                place,
                intake,
                seat,
                worker,
                outbox,
                evidence,
                recorder,
                shown,
                shared,
            });
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
        let outboxes: Vec<_> = self.hands.iter().map(|hand| Arc::clone(&hand.outbox)).collect();
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
        for (port, receives) in self.ports.iter_mut().zip(&self.receives) {
            let place = port
                .attach(&mut self.program, args)
                .with_context(|| format!("interface {}", port.name()))?;
            self.looked_ns = self.clock.now_ns();
            complain(&format!("watching {}: XDP {place}, {receives}", port.name()));
        }
        Ok(())
    }

    /// What a reload may change counts from now on.
    pub fn retune(&self, detection: &Detection) {
        self.tuning.change(detection);
        self.aggregator.tuning.change(detection);
    }

    /// Detaches, and tells the workers to take what is left and end.
    pub fn stop(&mut self) {
        self.ports.iter_mut().for_each(Port::detach);
        self.stop.store(true, Ordering::Release);
    }

    /// Whether every thread has ended.
    pub fn is_ended(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits for the threads, and closes the file of `-w` and the state file.
    ///
    /// # Errors
    /// Those of writing these files, at any time.
    pub fn join(&mut self) -> anyhow::Result<()> {
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                warn!("a thread of interface {} failed", self.name);
            }
        }
        let written = self.writer.as_mut().map_or(Ok(()), Writer::close);
        let written = written.context(
            "writing headers (-w) failed; the file lacks the last of them, make room for it",
        );
        every([written, self.finish_state()])
    }

    /// Its clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }
}
