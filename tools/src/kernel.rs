//! The XDP program in the kernel, fed by hand through `BPF_PROG_TEST_RUN`: one frame in, one verdict
//! out. No interface is touched.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, anyhow, ensure};
use aya::maps::{Array, HashMap, PerCpuArray, ProgramArray, RingBuf, XskMap};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use rustix::net::{AddressFamily, SocketType};
use xdpwatch_prog::counters::{self, Outcome, extra};
use xdpwatch_prog::maps::{self, settings};
use xdpwatch_prog::select;
use xdpwatch_prog::wire::tunnel::Wanted;

/// The committed object of the sensor.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!("../../collector/bpf/xdpwatch.bpf.o");

/// The committed object of the generator and the bench's helpers.
pub static TOOLS_OBJECT: &[u8] = aya::include_bytes_aligned!("../bpf/livegen.bpf.o");

/// How the program is set before it is loaded.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program for frames in several buffers.
    pub frags: bool,
    /// How many interfaces share the program.
    pub interfaces: u8,
    /// Every TCP segment is selected.
    pub select_all: bool,
    /// Skipped frames go on to the stack.
    pub pass_other: bool,
    /// Headers go to the ring buffer and every frame to the stack.
    pub tap: bool,
    /// The encapsulation to unwrap, addressed to one of `local_addrs`.
    pub encap: Option<Wanted>,
    /// This host's addresses, IPv4 mapped into IPv6.
    pub local_addrs: Vec<[u8; 16]>,
    /// Whether a socket is bound to receive queue 0.
    pub socket: bool,
    /// Transition after a SYN, nanoseconds.
    pub syn_window_ns: u64,
    /// Transition after a FIN, nanoseconds.
    pub fin_window_ns: u64,
    /// Key of the tuple hash.
    pub seed: u64,
    /// Slots of the transition filter, a power of two.
    pub slots: u32,
    /// Bytes of the ring buffer: a power of two and whole pages.
    pub ring_bytes: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            frags: false,
            interfaces: 1,
            select_all: false,
            pass_other: false,
            tap: false,
            encap: None,
            local_addrs: Vec::new(),
            socket: true,
            syn_window_ns: select::SYN_WINDOW_NS,
            fin_window_ns: select::FIN_WINDOW_NS,
            seed: 0x5eed,
            slots: 1 << 12,
            ring_bytes: 1 << 16,
        }
    }
}

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The XDP action.
    pub action: u32,
    /// The frame as the program left it.
    pub frame: Vec<u8>,
}

/// The loaded program.
pub struct Kernel {
    ebpf: Ebpf,
    name: &'static str,
    slots: u32,
    _socket: Option<OwnedFd>,
}

/// Why a test of the kernel can't run here, if so.
#[must_use]
pub fn unavailable() -> Option<&'static str> {
    (!rustix::process::geteuid().is_root()).then_some("needs root (BPF_PROG_TEST_RUN)")
}

impl Kernel {
    /// Loads the program, which the kernel's verifier then has accepted.
    ///
    /// # Errors
    /// The object, its load, or a map's setting, named.
    pub fn load(wanted: &Settings) -> Result<Self> {
        let name = if wanted.frags { maps::PROGRAM_FRAGS } else { maps::PROGRAM };
        let flag = |on: bool| u8::from(on);
        let (select_all, pass_other) = (flag(wanted.select_all), flag(wanted.pass_other));
        let (tap, encap) = (flag(wanted.tap), wanted.encap.map_or(0, |wanted| wanted as u8));
        ensure!(wanted.slots.is_power_of_two(), "{} slots: not a power of two", wanted.slots);
        let mask = wanted.slots - 1;
        let mut ebpf = EbpfLoader::new()
            .override_global(settings::INTERFACES_USED, &wanted.interfaces, true)
            .override_global(settings::SELECT_ALL, &select_all, true)
            .override_global(settings::PASS_OTHER, &pass_other, true)
            .override_global(settings::TAP, &tap, true)
            .override_global(settings::ENCAP, &encap, true)
            .override_global(settings::SYN_WINDOW_NS, &wanted.syn_window_ns, true)
            .override_global(settings::FIN_WINDOW_NS, &wanted.fin_window_ns, true)
            .override_global(settings::FILTER_SEED, &wanted.seed, true)
            .override_global(settings::FILTER_MASK, &mask, true)
            .map_max_entries(maps::TRANSITIONS, wanted.slots)
            .map_max_entries(maps::HEADERS, wanted.ring_bytes)
            .load(OBJECT)
            .context("loading collector/bpf/xdpwatch.bpf.o")?;
        load_program(&mut ebpf, name)?;
        let map = ebpf.map_mut(maps::LOCAL_ADDRS).context("no map LOCAL_ADDRS")?;
        let mut local_addrs: HashMap<_, [u8; 16], u8> = HashMap::try_from(map)?;
        for addr in &wanted.local_addrs {
            local_addrs.insert(addr, 1, 0).context("writing LOCAL_ADDRS")?;
        }
        let socket = if wanted.socket { Some(put_socket(&mut ebpf, maps::XSKS)?) } else { None };
        Ok(Self { ebpf, name, slots: wanted.slots, _socket: socket })
    }

    /// Instructions that the verifier looked at to accept the program; it gives up at a million.
    ///
    /// # Errors
    /// The kernel does not say (before Linux 5.16).
    pub fn verified_instructions(&mut self) -> Result<u32> {
        let info = program(&mut self.ebpf, self.name)?.info()?;
        info.verified_instruction_count().context("the kernel does not tell verified instructions")
    }

    /// Runs the program on one frame of at least 14 bytes.
    ///
    /// # Errors
    /// The kernel does not take the frame.
    pub fn run(&mut self, frame: &[u8]) -> Result<Verdict> {
        let mut out = vec![0; frame.len() + 64];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ..TestRunOptions::default()
        };
        let program = program(&mut self.ebpf, self.name)?;
        let ran = program
            .test_run(options)
            .with_context(|| format!("BPF_PROG_TEST_RUN of a frame of {} bytes", frame.len()))?;
        out.truncate(ran.data_size_out as usize);
        Ok(Verdict { action: ran.return_value, frame: out })
    }

    /// What the program has counted since it was loaded.
    ///
    /// # Errors
    /// The map can't be read.
    pub fn counts(&self) -> Result<Counts> {
        let map = self.ebpf.map(maps::COUNTERS).context("no map COUNTERS")?;
        let map: PerCpuArray<_, [u64; counters::COUNTERS]> = PerCpuArray::try_from(map)?;
        let mut sums = [0; counters::COUNTERS];
        for cpu in map.get(&0, 0).context("reading COUNTERS")?.iter() {
            for (sum, count) in sums.iter_mut().zip(cpu) {
                *sum += count;
            }
        }
        Ok(Counts(sums))
    }

    /// The slots of the transition filter that were ever written, with their times.
    ///
    /// # Errors
    /// The map can't be read.
    pub fn transitions(&self) -> Result<Vec<(u32, u64)>> {
        let map = self.ebpf.map(maps::TRANSITIONS).context("no map TRANSITIONS")?;
        let map: Array<_, u64> = Array::try_from(map)?;
        let slots = (0..self.slots).map(|slot| Ok((slot, map.get(&slot, 0)?)));
        slots.filter(|slot| !matches!(slot, Ok((_, 0)))).collect()
    }

    /// Takes all records out of the ring buffer.
    ///
    /// # Errors
    /// The map can't be mapped.
    pub fn take_headers(&mut self) -> Result<Vec<Vec<u8>>> {
        let map = self.ebpf.map_mut(maps::HEADERS).context("no map HEADERS")?;
        let mut ring = RingBuf::try_from(map)?;
        let mut records = Vec::new();
        while let Some(record) = ring.next() {
            records.push(record.to_vec());
        }
        Ok(records)
    }

    /// What the program costs on `frame` above an empty program, nanoseconds: `rounds` averages over
    /// a million runs, the least first.
    ///
    /// The kernel repeats on one and the same frame, so what the program does to it must be undone:
    /// before each run, `head` bytes are taken off in front and `tail` bytes grown behind. Half of
    /// what doing that and undoing it costs is subtracted; one tail call stays in.
    ///
    /// # Errors
    /// A program does not load or run.
    pub fn cost_ns(
        &mut self,
        frame: &[u8],
        head: u32,
        tail: u32,
        rounds: usize,
    ) -> Result<Vec<f64>> {
        let mut helpers = EbpfLoader::new()
            .override_global("HEAD", &head, true)
            .override_global("TAIL", &tail, true)
            .load(TOOLS_OBJECT)
            .context("loading tools/bpf/livegen.bpf.o")?;
        for name in ["restore", "undo", "empty"] {
            load_program(&mut helpers, name)?;
        }
        let map = helpers.take_map("UNDER_TEST").context("no map UNDER_TEST")?;
        // The kernel empties the array when user space lets go of it.
        let mut under_test = ProgramArray::try_from(map)?;
        under_test.set(0, program(&mut self.ebpf, self.name)?.fd()?, 0)?;
        let before = self.counts()?.extra(extra::SEEN);
        let mut costs = Vec::new();
        for _ in 0..rounds {
            let empty = average_ns(program(&mut helpers, "empty")?, frame)?;
            costs.push(if (head, tail) == (0, 0) {
                average_ns(program(&mut self.ebpf, self.name)?, frame)? - empty
            } else {
                let undo = average_ns(program(&mut helpers, "undo")?, frame)?;
                let whole = average_ns(program(&mut helpers, "restore")?, frame)?;
                whole - empty - (undo - empty) / 2.0
            });
        }
        let runs = self.counts()?.extra(extra::SEEN) - before;
        ensure!(runs == rounds as u64 * u64::from(REPEAT), "the program ran {runs} times");
        costs.sort_by(f64::total_cmp);
        Ok(costs)
    }
}

/// What the kernel's part of handing a frame over costs above an empty program, nanoseconds: `rounds`
/// averages each, the least first, of reading the clock, putting a head of `head` bytes in front,
/// cutting `tail` bytes off, and redirecting to a socket. No program that does all four costs less.
///
/// # Errors
/// A program does not load or run.
pub fn helper_costs_ns(
    frame: &[u8],
    head: u32,
    tail: u32,
    rounds: usize,
) -> Result<[(&'static str, Vec<f64>); 4]> {
    let load = |head: u32, tail: u32| -> Result<Ebpf> {
        let mut programs = EbpfLoader::new()
            .override_global("HEAD", &head, true)
            .override_global("TAIL", &tail, true)
            .load(TOOLS_OBJECT)
            .context("loading tools/bpf/livegen.bpf.o")?;
        for name in ["empty", "undo", "clock", "redirect"] {
            load_program(&mut programs, name)?;
        }
        Ok(programs)
    };
    let (mut heads, mut tails) = (load(head, 0)?, load(0, tail)?);
    let _socket = put_socket(&mut heads, "SOCKETS")?;
    let mut costs: [Vec<f64>; 4] = Default::default();
    for _ in 0..rounds {
        let empty = average_ns(program(&mut heads, "empty")?, frame)?;
        // Done and undone: half of it is one of the two.
        costs[0].push(average_ns(program(&mut heads, "clock")?, frame)? - empty);
        costs[1].push((average_ns(program(&mut heads, "undo")?, frame)? - empty) / 2.0);
        costs[2].push((average_ns(program(&mut tails, "undo")?, frame)? - empty) / 2.0);
        costs[3].push(average_ns(program(&mut heads, "redirect")?, frame)? - empty);
    }
    costs.iter_mut().for_each(|costs| costs.sort_by(f64::total_cmp));
    let [clock, head, tail, redirect] = costs;
    Ok([("clock", clock), ("head", head), ("cut", tail), ("redirect", redirect)])
}

/// Runs that an average is over.
const REPEAT: u32 = 1_000_000;

fn average_ns(program: &mut Xdp, frame: &[u8]) -> Result<f64> {
    let options =
        TestRunOptions { data_in: Some(frame), repeat: REPEAT, ..TestRunOptions::default() };
    let ran = program.test_run(options).context("BPF_PROG_TEST_RUN, repeated")?;
    Ok(ran.duration.as_nanos() as f64)
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = ebpf.program_mut(name).ok_or_else(|| anyhow!("no program {name}"))?;
    Ok(program.try_into()?)
}

fn load_program(ebpf: &mut Ebpf, name: &str) -> Result<()> {
    program(ebpf, name)?.load().with_context(|| format!("the verifier on program {name}"))
}

/// Puts a socket at queue 0 of a map. It is bound to nothing: a test run redirects nowhere.
fn put_socket(ebpf: &mut Ebpf, map: &str) -> Result<OwnedFd> {
    let socket = rustix::net::socket(AddressFamily::XDP, SocketType::RAW, None)
        .context("opening an AF_XDP socket; it needs CAP_NET_RAW")?;
    let sockets = ebpf.map_mut(map).with_context(|| format!("no map {map}"))?;
    let written = XskMap::try_from(sockets)?.set(0, socket.as_raw_fd(), 0);
    written.with_context(|| format!("writing {map}"))?;
    Ok(socket)
}

/// The program's counters, summed over the CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts([u64; counters::COUNTERS]);

impl Counts {
    /// Frames with this outcome that did, or did not, go on to the stack.
    #[must_use]
    pub fn of(&self, outcome: Outcome, passed: bool) -> u64 {
        self.0[outcome.index(passed)]
    }

    /// One of the counters that are no outcome: see [`extra`].
    #[must_use]
    pub fn extra(&self, index: usize) -> u64 {
        self.0[index]
    }

    /// Frames over all outcomes: equals those seen.
    #[must_use]
    pub fn accounted(&self) -> u64 {
        self.0[..extra::SEEN].iter().sum()
    }

    /// The outcomes that occurred since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Vec<(Outcome, bool, u64)> {
        let mut changed = Vec::new();
        for outcome in Outcome::all() {
            for passed in [false, true] {
                let count = self.of(outcome, passed) - before.of(outcome, passed);
                if count != 0 {
                    changed.push((outcome, passed, count));
                }
            }
        }
        changed
    }
}
