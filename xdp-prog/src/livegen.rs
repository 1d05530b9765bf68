//! Programs for tests and benches, never part of the sensor: a generator that turns one template into
//! many different frames, and what it takes to run the sensor's program many times on one frame.
#![no_std]
#![no_main]
#![expect(
    unsafe_code,
    reason = "packet pointers and kernel helpers; each use is checked beside it"
)]
#![expect(missing_docs, reason = "the xdp macro loses the programs' own doc comments")]

use aya_ebpf::Global;
use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP};
use aya_ebpf::btf_maps::{DevMap, PerCpuArray, ProgramArray, XskMap};
use aya_ebpf::helpers::{
    bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_xdp_adjust_head, bpf_xdp_adjust_tail,
};
use aya_ebpf::macros::{btf_map, xdp};
use aya_ebpf::programs::XdpContext;
use xdpwatch_prog::record::flags::{ACK, SYN};

/// Helpers are callable under it.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// When the next frame is due at the earliest, per CPU, nanoseconds: the program keeps it.
#[btf_map]
static DUE: PerCpuArray<u64, 1> = PerCpuArray::new();

/// The device to send into, at 0: user space writes.
#[btf_map]
static DEVICES: DevMap<1> = DevMap::new();

/// Frames made, per CPU: the program adds, user space reads.
#[btf_map]
static MADE: PerCpuArray<u64, 1> = PerCpuArray::new();

/// The program under test, at 0: user space writes.
#[btf_map]
static UNDER_TEST: ProgramArray<1> = ProgramArray::new();

/// A socket to redirect to, at 0: user space writes.
#[btf_map]
static SOCKETS: XskMap<1> = XskMap::new();

/// Of a thousand frames, how many are SYNs; the others are data segments.
#[unsafe(no_mangle)]
static SYN_PER_MILLE: Global<u32> = Global::new(0);

/// Different source address and port pairs per CPU, at most 2^31.
#[unsafe(no_mangle)]
static TUPLES: Global<u32> = Global::new(1);

/// Nanoseconds between two frames of a CPU; 0 for as fast as can be.
#[unsafe(no_mangle)]
static INTERVAL_NS: Global<u32> = Global::new(0);

/// Looks at the clock at most, before a frame goes out all the same.
const LOOKS_MAX: u32 = 1000;

/// Bytes that the tail is grown by before the program under test runs.
#[unsafe(no_mangle)]
static TAIL: Global<u32> = Global::new(0);

/// Bytes of the head that is taken off before the program under test runs: 0 or its size.
#[unsafe(no_mangle)]
static HEAD: Global<u32> = Global::new(0);

/// Ethernet, IPv4 and TCP headers without options.
const TEMPLATE_LEN: usize = 54;
/// The last three octets of the IPv4 source address.
const SOURCE_AT: usize = 14 + 13;
const PORT_AT: usize = 34;
const FLAGS_AT: usize = 34 + 13;

/// Waits until the next frame is due. Whoever was kept from sending makes up for it, frame by frame.
#[inline(always)]
fn wait() {
    let interval_ns = u64::from(INTERVAL_NS.load());
    let Some(due) = DUE.get_ptr_mut(0).filter(|_| interval_ns != 0) else { return };
    for look in 0..LOOKS_MAX {
        // SAFETY: the helper takes no argument.
        let now_ns = unsafe { bpf_ktime_get_ns() };
        // SAFETY: this CPU's own entry.
        let due_ns = unsafe { *due };
        if now_ns >= due_ns || look + 1 == LOOKS_MAX {
            let begun_ns = if due_ns == 0 { now_ns } else { due_ns };
            // SAFETY: as above.
            unsafe { *due = begun_ns + interval_ns };
            return;
        }
    }
}

/// Rewrites source address, source port and flags, and sends the frame. Checksums are left wrong.
#[xdp]
pub fn generate(ctx: XdpContext) -> u32 {
    let start = ctx.data();
    if start + TEMPLATE_LEN > ctx.data_end() {
        return XDP_ABORTED;
    }
    let Some(made) = MADE.get_ptr_mut(0) else { return XDP_ABORTED };
    // SAFETY: this CPU's own entry.
    let made = unsafe { &mut *made };
    let number = *made;
    *made += 1;
    wait();
    // SAFETY: the helper takes no argument.
    let cpu = unsafe { bpf_get_smp_processor_id() } as u8;
    let tuple = (number % u64::from(TUPLES.load().max(1))) as u32;
    // 7919 has no factor in common with 1000: the SYNs are spread evenly.
    let is_syn = (number * 7919) % 1000 < u64::from(SYN_PER_MILLE.load());
    let [high, low] = ((tuple >> 15) as u16).to_be_bytes();
    let port = ((tuple & 0x7fff) as u16 | u16::from(is_syn) << 15).to_be_bytes();
    let fields = [
        (SOURCE_AT, cpu),
        (SOURCE_AT + 1, high),
        (SOURCE_AT + 2, low),
        (PORT_AT, port[0]),
        (PORT_AT + 1, port[1]),
        (FLAGS_AT, if is_syn { SYN } else { ACK }),
    ];
    for (at, value) in fields {
        // SAFETY: every field lies within the template, whose end was checked.
        unsafe { ((start + at) as *mut u8).write(value) };
    }
    DEVICES.redirect(0, 0).unwrap_or(XDP_ABORTED)
}

/// Undoes what the program under test did to the frame, then runs it. `BPF_PROG_TEST_RUN` repeats on
/// one and the same frame.
#[xdp]
pub fn restore(ctx: XdpContext) -> u32 {
    let (head, tail) = (HEAD.load() as i32, TAIL.load() as i32);
    if head != 0 {
        // SAFETY: the helper checks the length itself.
        unsafe { bpf_xdp_adjust_head(ctx.ctx, head) };
    }
    if tail != 0 {
        // SAFETY: the helper checks the room itself.
        unsafe { bpf_xdp_adjust_tail(ctx.ctx, tail) };
    }
    // SAFETY: the context is the one that the kernel called this program with.
    let _absent = unsafe { UNDER_TEST.tail_call(&ctx, 0) };
    XDP_ABORTED
}

/// What any program costs.
#[xdp]
pub fn empty(_ctx: XdpContext) -> u32 {
    XDP_DROP
}

/// What taking a head off and a tail on, and back, costs besides.
#[xdp]
pub fn undo(ctx: XdpContext) -> u32 {
    let (head, tail) = (HEAD.load() as i32, TAIL.load() as i32);
    for sign in [1, -1] {
        if head != 0 {
            // SAFETY: the helper checks the room itself.
            unsafe { bpf_xdp_adjust_head(ctx.ctx, sign * head) };
        }
        if tail != 0 {
            // SAFETY: as above.
            unsafe { bpf_xdp_adjust_tail(ctx.ctx, sign * tail) };
        }
    }
    XDP_DROP
}

/// What reading the clock costs, and nothing else.
#[xdp]
pub fn clock(_ctx: XdpContext) -> u32 {
    // SAFETY: the helper takes no argument. The time is part of the verdict, so that it is read.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    if now_ns == 0 { XDP_ABORTED } else { XDP_DROP }
}

/// What a redirect to a socket costs, and nothing else.
#[xdp]
pub fn redirect(_ctx: XdpContext) -> u32 {
    SOCKETS.redirect(0, u64::from(XDP_DROP)).unwrap_or(XDP_ABORTED)
}

/// The verifier rejects a program that can get here.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
