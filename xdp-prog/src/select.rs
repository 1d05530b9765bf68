//! Which segments the detector needs: those that open and close connections, and every segment of a
//! tuple that one of them was just seen on.

use crate::record::flags;
use crate::wire::Located;

/// How long a tuple is in transition after a SYN, nanoseconds, unless set.
pub const SYN_WINDOW_NS: u64 = 5_000_000_000;

/// How long a tuple is in transition after a FIN: TIME-WAIT's 60 s and some, unless set.
pub const FIN_WINDOW_NS: u64 = 65_000_000_000;

/// Whether a segment with these flags is selected whatever its tuple.
#[inline(always)]
#[must_use]
pub fn is_control(tcp_flags: u8) -> bool {
    tcp_flags & (flags::SYN | flags::FIN | flags::RST) != 0
}

/// How long a segment with these flags keeps its tuple in transition. `None`: it does not.
#[inline(always)]
#[must_use]
pub fn window_ns(tcp_flags: u8, after_syn_ns: u64, after_fin_ns: u64) -> Option<u64> {
    if tcp_flags & flags::FIN != 0 {
        Some(after_fin_ns)
    } else if tcp_flags & flags::SYN != 0 {
        Some(after_syn_ns)
    } else {
        None
    }
}

/// A hash of the tuple that is the same for both directions.
///
/// Keyed, so that strangers cannot aim at a slot; multiply-and-fold, because it runs per packet in
/// the kernel, where a slot shared by chance only passes too much.
#[inline(always)]
#[must_use]
pub fn tuple_hash(located: &Located, seed: u64) -> u64 {
    let header = &located.header;
    let network = &located.network;
    let there = end_hash(&network.src, header.src_port, seed);
    let back = end_hash(&network.dst, header.dst_port, seed);
    fold(there.wrapping_add(back) ^ seed, 0x9fb2_1c65_1e98_df25)
}

#[inline(always)]
fn end_hash(addr: &[u32; 4], port: u16, seed: u64) -> u64 {
    let high = u64::from(addr[0]) << 32 | u64::from(addr[1]);
    let low = u64::from(addr[2]) << 32 | u64::from(addr[3]);
    // The port lies where the words of a mapped IPv4 address are the same for all.
    let end = fold(low ^ u64::from(port).rotate_left(48) ^ seed, 0x9e37_79b9_7f4a_7c15);
    if high == 0 { end } else { end ^ fold(high ^ seed, 0xa076_1d64_78bd_642f) }
}

/// One multiplication whose upper half is folded back: BPF has no 128-bit product.
#[inline(always)]
fn fold(value: u64, factor: u64) -> u64 {
    let product = value.wrapping_mul(factor);
    product ^ product >> 32
}
