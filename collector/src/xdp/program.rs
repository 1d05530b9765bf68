//! The committed XDP object: settings written, loaded, sockets entered, attached last, detached first.
//!
//! It is attached by a BPF link that this process holds: whatever ends the process, kill -9
//! included, detaches it.

use std::io;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use aya::maps::{Array, HashMap, MapData, PerCpuArray, RingBuf, XskMap};
use aya::programs::links::FdLink;
use aya::programs::{ProgramError, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use rustix::thread::{CapabilitySet, capabilities};
use tracing::{debug, info, warn};
use xdpwatch_prog::counters::{COUNTERS, Outcome, extra};
use xdpwatch_prog::maps::{self, INTERFACES_MAX, settings, socket_slot};

use super::safety::Refusal;
use crate::args;
use crate::stats::Live;

/// The program as built by `tools/build-bpf`.
static OBJECT: &[u8] = include_bytes_aligned!("../../bpf/xdpwatch.bpf.o");

/// Frames of a larger MTU come in several buffers in driver mode.
pub const SINGLE_BUFFER_MTU_MAX: u32 = 3400;

/// How long a program that is just being detached elsewhere is waited for.
const BUSY_PATIENCE: Duration = Duration::from_millis(500);

/// What the program is told before it is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How many interfaces share the program.
    pub interfaces: u8,
    /// Select every TCP segment, not only those around opening and closing.
    pub select_all: bool,
    /// Hand what is no TCP segment to the stack.
    pub pass_other: bool,
    /// Copy headers to the ring buffer and pass every frame.
    pub tap: bool,
    /// The encapsulation to unwrap.
    pub encap: Option<args::Encap>,
    /// How long a tuple is in transition after a SYN, nanoseconds.
    pub syn_window_ns: u64,
    /// How long a tuple is in transition after a FIN, nanoseconds.
    pub fin_window_ns: u64,
    /// Key of the filter's hash.
    pub filter_seed: u64,
    /// Slots of the filter; a power of two.
    pub filter_slots: u32,
}

/// The program in the kernel. Interfaces that share it share its transition filter, so that one sees
/// the answers to what began on another; each has its place, a number.
pub struct Program {
    ebpf: Ebpf,
    indices: [u32; INTERFACES_MAX],
}

/// Where an attached program runs; dropping it detaches.
#[derive(Debug)]
pub struct Attachment {
    _link: FdLink,
    /// The kernel's number of what is attached.
    pub program: u32,
    /// Whether it runs in the driver; otherwise generically in the stack.
    pub in_driver: bool,
}

impl Program {
    /// Loads the maps and prepares both programs.
    ///
    /// # Errors
    /// The kernel's, with what to do about it.
    pub fn load(settings: &Settings) -> anyhow::Result<Self> {
        let select_all = u8::from(settings.select_all);
        let pass_other = u8::from(settings.pass_other);
        let tap = u8::from(settings.tap);
        let encap = settings.encap.map_or(0, encap_number);
        let mask = settings.filter_slots - 1;
        let mut loader = EbpfLoader::new();
        loader
            .override_global(settings::INTERFACES_USED, &settings.interfaces, true)
            .override_global(settings::SELECT_ALL, &select_all, true)
            .override_global(settings::PASS_OTHER, &pass_other, true)
            .override_global(settings::TAP, &tap, true)
            .override_global(settings::ENCAP, &encap, true)
            .override_global(settings::SYN_WINDOW_NS, &settings.syn_window_ns, true)
            .override_global(settings::FIN_WINDOW_NS, &settings.fin_window_ns, true)
            .override_global(settings::FILTER_SEED, &settings.filter_seed, true)
            .override_global(settings::FILTER_MASK, &mask, true)
            .map_max_entries(maps::TRANSITIONS, settings.filter_slots);
        let ebpf = loader.load(OBJECT).map_err(|error| {
            let cure = cure(&error);
            anyhow!(error).context(format!("loading the XDP program's maps{cure}"))
        })?;
        Ok(Self { ebpf, indices: [0; INTERFACES_MAX] })
    }

    /// Gives the program the socket of a receive queue of the interface in this place.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_socket(
        &mut self,
        place: u32,
        queue: u32,
        socket: &impl AsRawFd,
    ) -> anyhow::Result<()> {
        let map = self.ebpf.map_mut(maps::XSKS).context("the program has no socket map")?;
        let mut sockets = XskMap::try_from(map)?;
        sockets
            .set(socket_slot(place, queue), socket.as_raw_fd(), 0)
            .with_context(|| format!("entering the socket of queue {queue} into the socket map"))
    }

    /// Tells the program which addresses are this host's.
    ///
    /// # Errors
    /// The kernel's; more addresses than the map takes.
    pub fn set_local_addresses(
        &mut self,
        addresses: impl Iterator<Item = [u8; 16]>,
    ) -> anyhow::Result<()> {
        let map = self.ebpf.map_mut(maps::LOCAL_ADDRS).context("the program has no address map")?;
        let mut local: HashMap<_, [u8; 16], u8> = HashMap::try_from(map)?;
        for address in addresses {
            local.insert(address, 1, 0).context("telling the program this host's addresses")?;
        }
        Ok(())
    }

    /// The ring buffer of tap mode; it can be taken once.
    ///
    /// # Errors
    /// It was taken before.
    pub fn take_headers(&mut self) -> anyhow::Result<RingBuf<MapData>> {
        let map = self.ebpf.take_map(maps::HEADERS).context("the program has no ring buffer")?;
        Ok(RingBuf::try_from(map)?)
    }

    /// A reader of the program's counters that outlives the attachment; it can be taken once.
    ///
    /// # Errors
    /// It was taken before.
    pub fn take_counters(&mut self) -> anyhow::Result<ProgramCounters> {
        let map = self.ebpf.take_map(maps::COUNTERS).context("the program has no counters")?;
        Ok(ProgramCounters { map: PerCpuArray::try_from(map)? })
    }

    /// The kernel's number of a program that is loaded.
    fn id_of(&self, name: &str) -> anyhow::Result<u32> {
        let program = self.ebpf.program(name).context("the object lacks a program")?;
        Ok(program.info()?.id())
    }

    /// Tells the program which interface is in a place.
    fn set_index(&mut self, place: u32, index: u32) -> anyhow::Result<()> {
        self.indices[place as usize] = index;
        let map = self.ebpf.map_mut(maps::INTERFACES).context("the program lacks a map")?;
        let mut known: Array<_, [u32; INTERFACES_MAX]> = Array::try_from(map)?;
        known.set(0, self.indices, 0).context("telling the program its interfaces")
    }

    /// Attaches to the interface in this place. Everything the program needs must be there: from here
    /// on it takes frames.
    ///
    /// # Errors
    /// The kernel's, with what to do about it.
    pub fn attach(
        &mut self,
        place: u32,
        interface: u32,
        mtu: u32,
        mode: args::XdpMode,
    ) -> anyhow::Result<Attachment> {
        self.set_index(place, interface)?;
        if mode != args::XdpMode::Generic {
            let frags = mtu > SINGLE_BUFFER_MTU_MAX;
            let name = if frags { maps::PROGRAM_FRAGS } else { maps::PROGRAM };
            match self.attach_as(name, interface, XdpMode::Driver) {
                Ok(link) => {
                    let program = self.id_of(name)?;
                    return Ok(Attachment { _link: link, program, in_driver: true });
                }
                Err(error) if mode == args::XdpMode::Driver || is_decisive(&error) => {
                    return Err(explain(error, "in the driver"));
                }
                Err(error) => warn!(
                    "the driver can't run XDP programs ({error:#}): falling back to generic mode, \
                     which handles frames only after the kernel has allocated for each; expect a \
                     fraction of the rate, and large receive offload to merge segments"
                ),
            }
        }
        // Generic mode makes every frame linear by itself.
        let link = self
            .attach_as(maps::PROGRAM, interface, XdpMode::Skb)
            .map_err(|error| explain(error, "in generic mode"))?;
        let program = self.id_of(maps::PROGRAM)?;
        Ok(Attachment { _link: link, program, in_driver: false })
    }

    fn attach_as(&mut self, name: &str, interface: u32, mode: XdpMode) -> anyhow::Result<FdLink> {
        let program = self.ebpf.program_mut(name).context("the object lacks a program")?;
        let program: &mut Xdp = program.try_into()?;
        if program.fd().is_err() {
            program.load().context("loading the XDP program")?;
        }
        let deadline = Instant::now() + BUSY_PATIENCE;
        let id = loop {
            match program.attach_to_if_index(interface, mode) {
                Err(error) if code(&error) == Some(libc::EBUSY) && Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(10));
                }
                result => break result?,
            }
        };
        // The library falls back to netlink where links fail; such an attachment survives kill -9.
        let link = program.take_link(id)?;
        let link = FdLink::try_from(link);
        info!(program = name, ?mode, "attached");
        link.map_err(|_| anyhow!("the kernel can't attach by BPF link (Linux 5.9 or newer can)"))
    }
}

/// Reads what the program has counted.
pub struct ProgramCounters {
    map: PerCpuArray<MapData, [u64; COUNTERS]>,
}

impl ProgramCounters {
    /// Adds the sums over all processors to `live`, and gives each outcome by name, of the interface in
    /// this place.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read(&self, place: u32, live: &mut Live) -> io::Result<Vec<(&'static str, u64)>> {
        let values = self.map.get(&place, 0).map_err(io::Error::other)?;
        let sum = |index: usize| values.iter().map(|counters| counters[index]).sum::<u64>();
        let mut outcomes = Vec::new();
        for outcome in Outcome::all() {
            let (ended, passed) = (sum(outcome.index(false)), sum(outcome.index(true)));
            if is_taken(outcome) {
                // A tap's selected frames pass too; they are counted once, as selected.
                live.selected += ended + passed;
            } else {
                if is_wanted(outcome) {
                    live.not_handed_over += ended + passed;
                }
                live.dropped += ended;
                live.passed += passed;
            }
            if ended + passed > 0 {
                outcomes.push((outcome.name(), ended + passed));
            }
        }
        live.seen += sum(extra::SEEN);
        outcomes.push(("bytes", sum(extra::BYTES)));
        outcomes.push(("in_transition", sum(extra::IN_TRANSITION)));
        Ok(outcomes)
    }
}

/// Whether the frame went to user space, with a head or without one.
fn is_taken(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Selected | Outcome::NoHeadroom)
}

/// Whether the frame should have gone to user space and could not.
fn is_wanted(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::NoSocket | Outcome::NotCut | Outcome::RingFull)
}

/// The program's number for an encapsulation.
fn encap_number(encap: args::Encap) -> u8 {
    match encap {
        args::Encap::Vxlan => 1,
        args::Encap::Geneve => 2,
        args::Encap::Gre => 3,
        args::Encap::Erspan => 4,
    }
}

/// The kernel's error number behind an attach error.
fn code(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    }
}

fn code_of(error: &anyhow::Error) -> Option<i32> {
    error.chain().find_map(|cause| {
        let program = cause.downcast_ref::<ProgramError>().and_then(code);
        program.or_else(|| cause.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error))
    })
}

/// Whether another mode would fail in the same way.
fn is_decisive(error: &anyhow::Error) -> bool {
    matches!(code_of(error), Some(libc::EBUSY | libc::EPERM | libc::EACCES | libc::EEXIST))
}

fn explain(error: anyhow::Error, place: &str) -> anyhow::Error {
    let verdict = error.chain().find_map(|cause| match cause.downcast_ref::<ProgramError>() {
        Some(ProgramError::LoadError { io_error, verifier_log }) => Some((io_error, verifier_log)),
        _ => None,
    });
    if let Some((io_error, log)) = verdict {
        debug!("the verifier's log:\n{log}");
        // EPERM is a missing right; everything else, EACCES too, is the verifier's word. It refuses
        // the frame's length, a difference of pointers, to whoever lacks CAP_PERFMON.
        if io_error.raw_os_error() != Some(libc::EPERM) && !lacks_perfmon() {
            return anyhow!(
                "loading the XDP program: this kernel's verifier refuses it ({io_error}); -vv shows \
                 its log, which belongs into a bug report; use another kernel meanwhile"
            );
        }
    }
    let cure = match code_of(&error) {
        Some(libc::EBUSY | libc::EEXIST) => {
            "; another XDP program is attached: `ip link show` names it as prog/xdp, end the \
             program that holds it (another xdpwatch?) or `ip link set IF xdp off`"
        }
        Some(libc::EPERM | libc::EACCES) => RIGHTS,
        Some(libc::EOPNOTSUPP | libc::ERANGE | libc::EINVAL) => {
            "; the driver refuses XDP with these settings (MTU, receive offload, queues): use \
             --xdp-mode generic"
        }
        _ => "",
    };
    error.context(format!("attaching the XDP program {place}{cure}"))
}

fn lacks_perfmon() -> bool {
    let either = CapabilitySet::PERFMON | CapabilitySet::SYS_ADMIN;
    capabilities(None).is_ok_and(|sets| !sets.effective.intersects(either))
}

const RIGHTS: &str =
    "; run it as root or give it CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON and CAP_IPC_LOCK";

fn cure(error: &(dyn std::error::Error + 'static)) -> &'static str {
    let mut cause = Some(error);
    while let Some(error) = cause {
        match error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            Some(libc::EPERM | libc::EACCES) => return RIGHTS,
            Some(libc::ENOMEM) => return "; there is too little memory: lower --filter-slots",
            _ => cause = error.source(),
        }
    }
    ""
}

/// Whatever can be refused is refused before the first change: so is an impossible queue count.
///
/// # Errors
/// More queues than the socket map has places.
pub fn check_queues(name: &str, queues: u32) -> Result<(), Refusal> {
    let most = maps::QUEUES_MAX;
    if queues <= most {
        return Ok(());
    }
    Err(Refusal {
        what: format!("interface {name} has {queues} receive queues, and {most} are supported"),
        cure: format!("reduce them with `ethtool -L {name} combined {most}`"),
    })
}
