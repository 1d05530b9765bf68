//! The live-frames generator: the kernel makes millions of frames a second out of one template and
//! puts them into an interface, as if they had been received from its peer.
//!
//! It sends into one side of a veth pair whose other side has an XDP program attached; a thread
//! pinned to CPU n fills the peer's receive queue n (modulo its queues). Checksums are wrong on purpose:
//! such frames are for XDP programs, not for hosts.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use aya::maps::{DevMap, PerCpuArray};
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use rustix::net::{AddressFamily, SocketType};
use rustix::thread::CpuSet;
use xdpwatch_prog::record::{Record, flags};

use crate::frames;
use crate::kernel::TOOLS_OBJECT;

/// Frames that the kernel makes before it looks after anything else.
const BATCH: u32 = 64;

/// What to send.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The interface to send into, by name.
    pub iface: String,
    /// CPUs that send, a thread each.
    pub cpus: Vec<usize>,
    /// Frames of each thread; a million or more reach the full rate.
    pub frames: u32,
    /// Of a thousand frames, how many are SYNs. The others are data segments of other tuples.
    pub syn_per_mille: u32,
    /// Different tuples of each thread, for SYNs and for data segments each; at most 2^31.
    pub tuples: u32,
    /// Payload of every frame, bytes.
    pub payload: u32,
    /// Nanoseconds between two frames of a thread; 0 for as fast as can be.
    pub interval_ns: u32,
}

/// What was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Frames of each CPU that sent any.
    pub frames: Vec<u64>,
    /// How long that took, without what came before.
    pub time: Duration,
}

/// Sends what the plan says and returns once all of it is sent.
///
/// # Errors
/// The plan can't be carried out; the text names the step.
pub fn generate(plan: &Plan) -> Result<Sent> {
    ensure!(plan.syn_per_mille <= 1000, "{} SYNs of a thousand frames", plan.syn_per_mille);
    ensure!((1..=1 << 31).contains(&plan.tuples), "{} tuples: 1 to 2^31", plan.tuples);
    let mut ebpf = load(plan)?;
    let frame = template(plan.payload);
    let program: &mut Xdp = ebpf.program_mut("generate").context("no program")?.try_into()?;
    program.load().context("the verifier on program generate")?;
    let program = &*program;
    let (frame, plan) = (&frame, &plan);
    let began = Instant::now();
    thread::scope(|scope| {
        let threads: Vec<_> = plan
            .cpus
            .iter()
            .map(|cpu| scope.spawn(move || send(program, frame, *cpu, plan.frames)))
            .collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(sent) => sent,
            Err(_) => Err(anyhow!("a sending thread panicked")),
        })
    })?;
    let time = began.elapsed();
    let map = ebpf.map("MADE").context("no map MADE")?;
    let made: PerCpuArray<_, u64> = PerCpuArray::try_from(map)?;
    let frames = made.get(&0, 0)?.iter().copied().filter(|made| *made != 0).collect();
    Ok(Sent { frames, time })
}

fn load(plan: &Plan) -> Result<Ebpf> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let index = rustix::net::netdevice::name_to_index(&socket, &plan.iface)
        .with_context(|| format!("looking up interface {}; see `ip link`", plan.iface))?;
    let mut ebpf = EbpfLoader::new()
        .override_global("SYN_PER_MILLE", &plan.syn_per_mille, true)
        .override_global("TUPLES", &plan.tuples, true)
        .override_global("INTERVAL_NS", &plan.interval_ns, true)
        .load(TOOLS_OBJECT)
        .context("loading tools/bpf/livegen.bpf.o; it needs root")?;
    let map = ebpf.map_mut("DEVICES").context("no map DEVICES")?;
    DevMap::try_from(map)?
        .set(0, index, None, 0)
        .with_context(|| format!("sending into {}: is it one side of a veth pair?", plan.iface))?;
    Ok(ebpf)
}

fn send(program: &Xdp, frame: &[u8], cpu: usize, frames: u32) -> Result<()> {
    let mut cpus = CpuSet::new();
    ensure!(cpu < CpuSet::MAX_CPU, "CPU {cpu}: at most {}", CpuSet::MAX_CPU - 1);
    cpus.set(cpu);
    rustix::thread::sched_setaffinity(None, &cpus)
        .with_context(|| format!("pinning a thread to CPU {cpu}; see `nproc`"))?;
    let options = TestRunOptions {
        data_in: Some(frame),
        repeat: frames,
        attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
        ..TestRunOptions::default()
    };
    program
        .test_run(options)
        .with_context(|| format!("sending {frames} live frames; they need Linux 5.18 or later"))?;
    Ok(())
}

/// An IPv4 segment from 10.x.x.x; the generator rewrites source and flags.
fn template(payload_len: u32) -> Vec<u8> {
    let mut record = Record {
        src_port: 1,
        dst_port: 443,
        seq: 1000,
        ack: 5000,
        window: 501,
        ttl: 64,
        flags: flags::ACK,
        payload_len,
        ..Record::default()
    };
    record.src_addr[10..].copy_from_slice(&[0xff, 0xff, 10, 0, 0, 0]);
    record.dst_addr[10..].copy_from_slice(&[0xff, 0xff, 198, 51, 100, 1]);
    frames::ethernet(&record)
}
