//! Sixteen tags compared at once, and cache lines fetched ahead: what a processor does in one
//! instruction, where there is a safe call for it, and in plain words elsewhere.

/// Tags compared at once.
pub const LANES: usize = 16;

/// One bit per lane whose tag is `tag`.
#[cfg(target_arch = "x86_64")]
#[inline]
pub fn matches(tags: &[u8; LANES], tag: u8) -> u32 {
    use safe_arch::{cmp_eq_mask_i8_m128i, m128i, move_mask_i8_m128i, set_splat_i8_m128i};
    let same = cmp_eq_mask_i8_m128i(m128i::from(*tags), set_splat_i8_m128i(tag.cast_signed()));
    move_mask_i8_m128i(same).cast_unsigned()
}

/// Asks for the cache line that `what` begins in, without waiting for it.
#[cfg(target_arch = "x86_64")]
#[inline]
pub fn fetch<T>(what: &T) {
    safe_arch::prefetch_t0(what);
}

/// One bit per lane whose tag is `tag`.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub fn matches(tags: &[u8; LANES], tag: u8) -> u32 {
    in_words(tags, tag)
}

/// Reads from the cache line that `what` begins in: there is no safe call to only ask for it.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub fn fetch<T: Copy>(what: &T) {
    core::hint::black_box(*what);
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn in_words(tags: &[u8; LANES], tag: u8) -> u32 {
    let tags = u128::from_le_bytes(*tags);
    matches_8(tags as u64, tag) | matches_8((tags >> 64) as u64, tag) << 8
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn matches_8(tags: u64, tag: u8) -> u32 {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const BELOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    // Brings the lowest bits of eight bytes together in the uppermost byte.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let differs = tags ^ (LOW * u64::from(tag));
    // The uppermost bit of a byte is set where any other bit of it is: no carry leaves a byte.
    let nonzero = ((differs & BELOW) + BELOW) | differs;
    let equal = !nonzero >> 7 & LOW;
    (equal.wrapping_mul(GATHER) >> 56) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_lane_is_matched_and_no_other(tags: [u8; LANES], some in 0usize..LANES, near: u8) {
            for tag in [tags[some], near, 0, 1, 0x80, 0xff] {
                let lanes = tags.iter().enumerate().map(|(n, t)| u32::from(*t == tag) << n);
                let expected = lanes.sum::<u32>();
                prop_assert_eq!(matches(&tags, tag), expected);
                prop_assert_eq!(in_words(&tags, tag), expected);
            }
        }
    }
}
