//! The XDP program: parse, select, cut to the headers, put the head in front, hand over. Every frame
//! is counted once; what is not handed over is dropped, or goes on to the stack uncut.
#![no_std]
#![no_main]
#![expect(
    unsafe_code,
    reason = "packet pointers and kernel helpers; each use is checked beside it"
)]
#![expect(missing_docs, reason = "the xdp macro loses the programs' own doc comments")]

use aya_ebpf::Global;
use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::btf_maps::{Array, HashMap, PerCpuArray, RingBuf, XskMap};
use aya_ebpf::helpers::{
    bpf_ktime_get_ns, bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len,
    bpf_xdp_load_bytes,
};
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use xdpwatch_prog::counters::{COUNTERS as COUNTERS_LEN, Outcome, extra};
use xdpwatch_prog::head::Head;
use xdpwatch_prog::maps::{
    HEADERS_BYTES, HEADERS_MAX, INTERFACES_MAX, LOCAL_ADDRS_MAX, QUEUES_MAX, TRANSITION_SLOTS,
    socket_slot,
};
use xdpwatch_prog::select::{self, is_control, tuple_hash};
use xdpwatch_prog::wire::tunnel::Wanted;
use xdpwatch_prog::wire::{self, Frame, Located};

/// Helpers are callable under it.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

// Maps and settings are described in `maps`, where user space finds their names.
#[btf_map]
static XSKS: XskMap<{ QUEUES_MAX as usize * INTERFACES_MAX }> = XskMap::new();
#[btf_map]
static TRANSITIONS: Array<u64, { TRANSITION_SLOTS as usize }> = Array::new();
#[btf_map]
static COUNTERS: PerCpuArray<[u64; COUNTERS_LEN], INTERFACES_MAX> = PerCpuArray::new();
#[btf_map]
static INTERFACES: Array<[u32; INTERFACES_MAX], 1> = Array::new();
#[btf_map]
static LOCAL_ADDRS: HashMap<[u8; 16], u8, { LOCAL_ADDRS_MAX as usize }> = HashMap::new();
#[btf_map]
static HEADERS: RingBuf<(), { HEADERS_BYTES as usize }> = RingBuf::new();

/// Where a head and headers are put together for the ring buffer.
#[btf_map]
static SCRATCH: PerCpuArray<[u64; (Head::SIZE + HEADERS_MAX) / 8], 1> = PerCpuArray::new();

#[unsafe(no_mangle)]
static INTERFACES_USED: Global<u8> = Global::new(1);
#[unsafe(no_mangle)]
static SELECT_ALL: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
static PASS_OTHER: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
static TAP: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
static ENCAP: Global<u8> = Global::new(0);
#[unsafe(no_mangle)]
static SYN_WINDOW_NS: Global<u64> = Global::new(select::SYN_WINDOW_NS);
#[unsafe(no_mangle)]
static FIN_WINDOW_NS: Global<u64> = Global::new(select::FIN_WINDOW_NS);
#[unsafe(no_mangle)]
static FILTER_SEED: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static FILTER_MASK: Global<u32> = Global::new(TRANSITION_SLOTS - 1);

/// For frames in one buffer.
#[xdp]
pub fn xdpwatch(ctx: XdpContext) -> u32 {
    let frame_len = ctx.data_end() - ctx.data();
    watch(&ctx, frame_len)
}

/// For frames in several buffers: their headers are in the first.
#[xdp(frags)]
pub fn xdpwatch_frags(ctx: XdpContext) -> u32 {
    // SAFETY: the context is the one that the kernel called this program with.
    let frame_len = unsafe { bpf_xdp_get_buff_len(ctx.ctx) };
    watch(&ctx, frame_len as usize)
}

/// The first buffer of a frame.
struct Packet {
    start: usize,
    end: usize,
}

impl Frame for Packet {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let at = self.start + offset;
        if at + N > self.end {
            return None;
        }
        // SAFETY: the N bytes lie before the packet's end, as was just checked.
        Some(unsafe { (at as *const [u8; N]).read() })
    }
}

#[inline(always)]
fn watch(ctx: &XdpContext, frame_len: usize) -> u32 {
    let interface = interface(ctx);
    let Some(counters) = COUNTERS.get_ptr_mut(interface) else { return XDP_PASS };
    // SAFETY: this CPU's own entry, which nothing else writes while the program runs on it.
    let counters = unsafe { &mut *counters };
    counters[extra::SEEN] += 1;
    counters[extra::BYTES] += frame_len as u64;
    let (outcome, action) = decide(ctx, interface, frame_len, counters);
    if let Some(counter) = counters.get_mut(outcome.index(action == XDP_PASS)) {
        *counter += 1;
    }
    action
}

/// The place of the interface that the frame came in by. Alone it is the first, and the verifier
/// drops the rest of this.
#[inline(always)]
fn interface(ctx: &XdpContext) -> u32 {
    if INTERFACES_USED.load() <= 1 {
        return 0;
    }
    let Some(indices) = INTERFACES.get_ptr(0) else { return 0 };
    // SAFETY: a live entry of the map; user space stores whole words into it.
    let indices = unsafe { indices.read_volatile() };
    let index = ctx.ingress_ifindex() as u32;
    indices.iter().position(|known| *known == index).unwrap_or(0) as u32
}

#[inline(always)]
fn decide(
    ctx: &XdpContext,
    interface: u32,
    frame_len: usize,
    counters: &mut [u64; COUNTERS_LEN],
) -> (Outcome, u32) {
    let tap = TAP.load() != 0;
    let packet = Packet { start: ctx.data(), end: ctx.data_end() };
    let found = match Wanted::from_number(ENCAP.load()) {
        None => wire::locate(&packet, 0, frame_len),
        Some(wanted) => match wire::locate_in_tunnel(&packet, frame_len, wanted, is_local) {
            Some(found) => found,
            None => return (Outcome::OtherTraffic, XDP_PASS),
        },
    };
    let located = match found {
        Ok(located) => located,
        Err(skip) => {
            let passes = tap || PASS_OTHER.load() != 0;
            return (Outcome::Skipped(skip), if passes { XDP_PASS } else { XDP_DROP });
        }
    };
    let Some(at_ns) = selected_at(&located, counters) else {
        return (Outcome::Unselected, if tap { XDP_PASS } else { XDP_DROP });
    };
    let queue = ctx.rx_queue_index();
    let (place, frame_len) = (interface as u8, frame_len as u32);
    let head = Head { interface: place, queue: queue as u16, frame_len, at_ns };
    if tap {
        (copy_headers(ctx, head, located.header_end), XDP_PASS)
    } else {
        redirect(ctx, socket_slot(interface, queue), head, located.header_end)
    }
}

#[inline(always)]
fn is_local(addr: &[u8; 16]) -> bool {
    LOCAL_ADDRS.get_ptr(addr).is_some()
}

/// When the frame was seen, if it is selected: looks its tuple up in the transition filter, or begins
/// a transition.
///
/// The clock is most of what this costs, so a data segment asks for it only where the answer can
/// depend on it: time that ended before this CPU's last reading is over.
#[inline(always)]
fn selected_at(located: &Located, counters: &mut [u64; COUNTERS_LEN]) -> Option<u64> {
    if SELECT_ALL.load() != 0 {
        return Some(read_clock(counters));
    }
    let slot = tuple_hash(located, FILTER_SEED.load()) as u32 & FILTER_MASK.load();
    // A map smaller than the mask must not make the program miss anything.
    let Some(until_ns) = TRANSITIONS.get_ptr_mut(slot) else { return Some(read_clock(counters)) };
    // SAFETY: a live entry of the map; other CPUs store whole words into it.
    let current_ns = unsafe { until_ns.read_volatile() };
    let tcp_flags = located.header.flags;
    if !is_control(tcp_flags) {
        if current_ns <= counters[extra::CLOCK_NS] {
            return None;
        }
        let at_ns = read_clock(counters);
        let in_transition = current_ns > at_ns;
        counters[extra::IN_TRANSITION] += u64::from(in_transition);
        return in_transition.then_some(at_ns);
    }
    let at_ns = read_clock(counters);
    if let Some(window_ns) =
        select::window_ns(tcp_flags, SYN_WINDOW_NS.load(), FIN_WINDOW_NS.load())
    {
        let later_ns = at_ns + window_ns;
        if later_ns > current_ns {
            // SAFETY: as above.
            unsafe { until_ns.write_volatile(later_ns) };
        }
    }
    Some(at_ns)
}

#[inline(always)]
fn read_clock(counters: &mut [u64; COUNTERS_LEN]) -> u64 {
    // SAFETY: the helper takes no argument.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    counters[extra::CLOCK_NS] = now_ns;
    now_ns
}

/// Cuts the frame to its headers and redirects it. Once it is cut, it never reaches the stack.
#[inline(always)]
fn redirect(ctx: &XdpContext, socket: u32, head: Head, header_end: usize) -> (Outcome, u32) {
    if XSKS.get(socket).is_none() {
        return (Outcome::NoSocket, XDP_DROP);
    }
    let kept = header_end.min(ctx.data_end() - ctx.data());
    let excess = head.frame_len as i32 - kept as i32;
    if excess > 0 {
        // SAFETY: the helper checks the length itself; no packet pointer is used across it.
        let error = unsafe { bpf_xdp_adjust_tail(ctx.ctx, -excess) };
        if error != 0 {
            return (Outcome::NotCut, XDP_DROP);
        }
    }
    let outcome = if prepend(ctx, head) { Outcome::Selected } else { Outcome::NoHeadroom };
    match XSKS.redirect(socket, u64::from(XDP_DROP)) {
        Ok(action) => (outcome, action),
        Err(action) => (Outcome::NoSocket, action),
    }
}

/// Puts the head in front of the frame. Where there is no room, makes sure instead that the frame
/// can't be mistaken for one that has a head: its first byte is not the head's version.
#[inline(always)]
fn prepend(ctx: &XdpContext, head: Head) -> bool {
    // SAFETY: the helper checks the room itself; no packet pointer is used across it.
    let grown = unsafe { bpf_xdp_adjust_head(ctx.ctx, -(Head::SIZE as i32)) } == 0;
    let start = ctx.data();
    if start + Head::SIZE > ctx.data_end() {
        return false;
    }
    if grown {
        // SAFETY: the bytes lie before the packet's end, as was just checked.
        unsafe { (start as *mut [u64; 2]).write_unaligned(head.to_words()) };
    } else {
        // SAFETY: likewise. A version is odd, so no address of a single station begins with it.
        unsafe { (start as *mut u8).write(0) };
    }
    grown
}

/// Copies head and headers to the ring buffer.
#[inline(always)]
fn copy_headers(ctx: &XdpContext, head: Head, header_end: usize) -> Outcome {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return Outcome::RingFull };
    let kept = header_end.min(ctx.data_end() - ctx.data()).min(HEADERS_MAX);
    if kept == 0 {
        return Outcome::RingFull;
    }
    let bytes = scratch.cast::<u8>();
    // SAFETY: this CPU's own entry begins with room for the head.
    unsafe { bytes.cast::<[u64; 2]>().write(head.to_words()) };
    // SAFETY: the entry is longer than the head.
    let headers = unsafe { bytes.add(Head::SIZE) };
    // SAFETY: `kept` bytes fit behind the head, and the helper checks the frame's length.
    let error = unsafe { bpf_xdp_load_bytes(ctx.ctx, 0, headers.cast(), kept as u32) };
    if error != 0 {
        return Outcome::RingFull;
    }
    // SAFETY: these bytes of the entry were just set, and no one else has it.
    let record = unsafe { core::slice::from_raw_parts(bytes, Head::SIZE + kept) };
    match HEADERS.output_untyped::<[u8]>(record, 0) {
        Ok(()) => Outcome::Selected,
        Err(_) => Outcome::RingFull,
    }
}

/// The verifier rejects a program that can get here.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
