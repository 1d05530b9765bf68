//! Arithmetic on 32-bit counters that wrap: sequence numbers and timestamp values.
//!
//! No `Ord`: "after" on a circle is not transitive (RFC 9293, 3.4; RFC 7323, 5.2).

/// How far `a` is ahead of `b`, as a signed 32-bit difference.
#[inline]
#[must_use]
pub fn ahead(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b).cast_signed()
}

/// Whether `a` comes after `b`. As in the kernel's `after()`, 2^31 ahead counts as after.
#[inline]
#[must_use]
pub fn is_after(a: u32, b: u32) -> bool {
    ahead(b, a) < 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_wraps_and_takes_the_half_circle() {
        assert!(is_after(1, 0));
        assert!(!is_after(0, 0));
        assert!(!is_after(0, 1));
        assert!(is_after(0, u32::MAX));
        assert!(is_after(1 << 31, 0), "old_rcv + 2^31 counts as after on a live kernel");
        assert_eq!(ahead(5, 10), -5);
    }
}
