//! The XDP program: parse, count, select, cut, hand over. All thinking is in the library; here are
//! the maps, the kernel's calls, and the order in which things are done to a frame.
//!
//! A frame is cut only once a socket for its queue is known to be there, and the redirect falls back
//! to DROP, so that a cut frame never reaches the host's stack.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "packet memory, helpers and maps are reached through raw pointers")]

use core::ffi::c_void;
use core::ptr;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::btf_maps::{Array, HashMap, PerCpuArray, RingBuf, XskMap};
use aya_ebpf::helpers::{
    bpf_ktime_get_coarse_ns, bpf_ktime_get_ns, bpf_ringbuf_output, bpf_xdp_adjust_head,
    bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_load_bytes,
};
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;

use xdpwatch_prog::counters::{COUNTERS as COUNT, Outcome, extra};
use xdpwatch_prog::head::Head;
use xdpwatch_prog::maps;
use xdpwatch_prog::record::flags;
use xdpwatch_prog::select;
use xdpwatch_prog::wire::tunnel::Wanted;
use xdpwatch_prog::wire::{self, Frame, Located, Skip};

#[btf_map]
static XSKS: XskMap<{ maps::QUEUES_MAX as usize }> = XskMap::new();
#[btf_map]
static TRANSITIONS: Array<u64, { maps::TRANSITION_SLOTS as usize }> = Array::new();
#[btf_map]
static COUNTERS: PerCpuArray<[u64; COUNT], 1> = PerCpuArray::new();
#[btf_map]
static LOCAL_ADDRS: HashMap<[u8; 16], u8, { maps::LOCAL_ADDRS_MAX as usize }> = HashMap::new();
#[btf_map]
static HEADERS: RingBuf<(), { maps::HEADERS_BYTES as usize }> = RingBuf::new();
/// Where a head and headers are put together for the ring buffer: too much for the stack.
#[btf_map]
static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

#[repr(C)]
struct Scratch {
    head: [u64; 2],
    headers: [u8; maps::HEADERS_MAX],
}

#[unsafe(no_mangle)]
static SELECT_ALL: u8 = 0;
#[unsafe(no_mangle)]
static PASS_OTHER: u8 = 0;
#[unsafe(no_mangle)]
static TAP: u8 = 0;
#[unsafe(no_mangle)]
static ENCAP: u8 = 0;
#[unsafe(no_mangle)]
static SYN_WINDOW_NS: u64 = select::SYN_WINDOW_NS;
#[unsafe(no_mangle)]
static FIN_WINDOW_NS: u64 = select::FIN_WINDOW_NS;
#[unsafe(no_mangle)]
static FILTER_SEED: u64 = 0;
#[unsafe(no_mangle)]
static FILTER_MASK: u32 = maps::TRANSITION_SLOTS - 1;

/// A setting as user space wrote it; volatile, or the compiler would take the value above.
#[inline(always)]
fn setting<T: Copy>(place: &'static T) -> T {
    // SAFETY: `place` is a valid, aligned static, which nobody writes once the program is loaded.
    unsafe { ptr::read_volatile(place) }
}

/// For frames in one buffer.
#[xdp]
pub fn xdpwatch(ctx: XdpContext) -> u32 {
    let frame_len = ctx.data_end() - ctx.data();
    watch(&ctx, frame_len)
}

/// For frames in several buffers; headers lie in the first.
#[xdp(frags)]
pub fn xdpwatch_frags(ctx: XdpContext) -> u32 {
    // SAFETY: `ctx` is the context that the kernel called this program with.
    let frame_len = unsafe { bpf_xdp_get_buff_len(ctx.ctx) };
    watch(&ctx, frame_len as usize)
}

#[inline(always)]
fn watch(ctx: &XdpContext, frame_len: usize) -> u32 {
    let Some(counters) = COUNTERS.get_ptr_mut(0) else { return XDP_PASS };
    let counters = Counters(counters);
    counters.add(extra::SEEN, 1);
    counters.add(extra::BYTES, frame_len as u64);
    let packet = Packet { start: ctx.data(), end: ctx.data_end() };
    let located = match Wanted::from_number(setting(&ENCAP)) {
        None => wire::locate(&packet, 0, frame_len),
        Some(wanted) => match wire::locate_in_tunnel(&packet, frame_len, wanted, is_local) {
            Some(located) => located,
            None => return counters.end(Outcome::OtherTraffic, true),
        },
    };
    let tap = setting(&TAP) != 0;
    let outcome = match located {
        Err(skip) => Outcome::Skipped(skip),
        Ok(located) if !is_selected(&located, &counters) => Outcome::Unselected,
        Ok(located) if tap => copy_headers(ctx, frame_len, located.header_end),
        Ok(located) => return hand_over(ctx, frame_len, located.header_end, &counters),
    };
    let is_other = matches!(outcome, Outcome::Skipped(_)) && setting(&PASS_OTHER) != 0;
    counters.end(outcome, tap || is_other)
}

/// Whether the detector needs this segment. A SYN or FIN sets its tuple's slot.
#[inline(always)]
fn is_selected(located: &Located, counters: &Counters) -> bool {
    let tcp_flags = located.header.flags;
    if setting(&SELECT_ALL) != 0 {
        return true;
    }
    let hash = select::tuple_hash(located, setting(&FILTER_SEED));
    let slot = (hash >> 32) as u32 & setting(&FILTER_MASK);
    let Some(slot) = TRANSITIONS.get_ptr_mut(slot) else { return true };
    // SAFETY: the kernel checks that the helper exists; coarse time is enough for seconds.
    let now_ns = unsafe { bpf_ktime_get_coarse_ns() };
    // SAFETY: a slot of the map is an aligned u64; a racing CPU's write is as good as this one's.
    let until_ns = unsafe { ptr::read_volatile(slot) };
    if !select::is_control(tcp_flags) {
        let in_transition = until_ns > now_ns;
        counters.add(extra::IN_TRANSITION, u64::from(in_transition));
        return in_transition;
    }
    let window_ns = match tcp_flags & (flags::SYN | flags::FIN) {
        0 => 0,
        flags::SYN => setting(&SYN_WINDOW_NS),
        _ => setting(&FIN_WINDOW_NS),
    };
    if now_ns + window_ns > until_ns && window_ns != 0 {
        // SAFETY: as for the read above.
        unsafe { ptr::write_volatile(slot, now_ns + window_ns) };
    }
    true
}

/// Cuts the frame to its headers, puts the head in front and redirects it to its queue's socket.
#[inline(always)]
fn hand_over(ctx: &XdpContext, frame_len: usize, header_end: usize, counters: &Counters) -> u32 {
    let queue = ctx.rx_queue_index();
    if XSKS.get(queue).is_none() {
        return counters.end(Outcome::NoSocket, setting(&PASS_OTHER) != 0);
    }
    if header_end < frame_len {
        let cut = header_end as i32 - frame_len as i32;
        // SAFETY: `ctx` is this program's context; its old packet pointers are not used again.
        let error = unsafe { bpf_xdp_adjust_tail(ctx.ctx, cut) };
        if error != 0 {
            return counters.end(Outcome::CutFailed, false);
        }
    }
    let head = head(queue, frame_len);
    // SAFETY: as above.
    let error = unsafe { bpf_xdp_adjust_head(ctx.ctx, -(Head::SIZE as i32)) };
    let start = ctx.data();
    if start + Head::SIZE > ctx.data_end() {
        return counters.end(Outcome::CutFailed, false);
    }
    if error == 0 {
        // SAFETY: the comparison above leaves 16 bytes at `start`.
        unsafe { ptr::write_unaligned(start as *mut [u64; 2], head) };
    } else {
        counters.add(extra::HEADLESS, 1);
        // SAFETY: as above.
        unsafe { ptr::write_unaligned(start as *mut u8, Head::HEADLESS) };
    }
    counters.add(Outcome::Selected.index(false), 1);
    XSKS.redirect(queue, u64::from(XDP_DROP)).unwrap_or(XDP_DROP)
}

#[inline(always)]
fn head(queue: u32, frame_len: usize) -> [u64; 2] {
    // SAFETY: the kernel checks that the helper exists.
    let at_ns = unsafe { bpf_ktime_get_ns() };
    Head { queue: queue as u16, frame_len: frame_len as u32, at_ns }.to_words()
}

/// Copies head and headers to the ring buffer; the frame itself stays as it is.
#[inline(always)]
fn copy_headers(ctx: &XdpContext, frame_len: usize, header_end: usize) -> Outcome {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return Outcome::RingFull };
    let packet_len = ctx.data_end() - ctx.data();
    let len = header_end.min(packet_len);
    if len == 0 || len > maps::HEADERS_MAX {
        return Outcome::Skipped(Skip::TooDeep);
    }
    // SAFETY: the per-CPU entry is this program's alone until it returns.
    unsafe { (*scratch).head = head(ctx.rx_queue_index(), frame_len) };
    // SAFETY: only the address is taken.
    let headers = unsafe { &raw mut (*scratch).headers };
    // SAFETY: `headers` has room for HEADERS_MAX bytes, and `len` is no more.
    let error = unsafe { bpf_xdp_load_bytes(ctx.ctx, 0, headers.cast(), len as u32) };
    if error != 0 {
        return Outcome::Skipped(Skip::Short);
    }
    let total = (Head::SIZE + len) as u64;
    let map = (&raw const HEADERS).cast_mut().cast::<c_void>();
    // SAFETY: `scratch` has room for the head and HEADERS_MAX bytes, and `total` is no more.
    let error = unsafe { bpf_ringbuf_output(map, scratch.cast(), total, 0) };
    if error == 0 { Outcome::Selected } else { Outcome::RingFull }
}

#[inline(always)]
fn is_local(addr: &[u8; 16]) -> bool {
    LOCAL_ADDRS.get_ptr(addr).is_some()
}

/// This CPU's counters.
struct Counters(*mut [u64; COUNT]);

impl Counters {
    #[inline(always)]
    fn add(&self, index: usize, by: u64) {
        if index < COUNT {
            // SAFETY: `index` is inside the array.
            let counter = unsafe { self.0.cast::<u64>().add(index) };
            // SAFETY: the entry is this CPU's own, and XDP does not interrupt itself.
            unsafe { *counter += by };
        }
    }

    /// Counts how the frame ended and says so to the kernel.
    #[inline(always)]
    fn end(&self, outcome: Outcome, passed: bool) -> u32 {
        self.add(outcome.index(passed), 1);
        if passed { XDP_PASS } else { XDP_DROP }
    }
}

/// A frame in the kernel: the verifier follows the comparison with `end`.
struct Packet {
    start: usize,
    end: usize,
}

/// No header lies further in; the verifier wants a bound on what is added to a packet pointer.
const OFFSET_MAX: usize = 0x3fff;

impl Frame for Packet {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if offset > OFFSET_MAX || self.start + offset + N > self.end {
            return None;
        }
        let at = (self.start + offset) as *const [u8; N];
        // SAFETY: `at` and the N bytes behind it are inside the packet by the comparison above.
        Some(unsafe { ptr::read_unaligned(at) })
    }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // The verifier rejects a loop without end, so a program with a reachable panic does not load.
    loop {}
}

/// The kernel lets only programs with a GPL-compatible licence call its helpers.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
