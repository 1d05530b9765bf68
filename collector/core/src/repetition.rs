//! When a SYN or FIN that comes again is a retransmission, and how long to wait for the next one.

use crate::flow::SECOND_US;

/// The same SYN or FIN again sooner than this may be the mirror's copy of it: a real retransmission
/// waits longer (10 ms at the least, `TCP_TIMEOUT_MIN`).
pub const COPY_US: u64 = 10_000;

/// Least patience after a retransmission.
const LEAST_PATIENCE_US: u64 = 3 * SECOND_US;

/// How long the next retransmission is waited for. Back-off brings it at exactly twice the last gap;
/// a quarter of that gap is for its delay.
#[must_use]
pub fn patience_us(gap_us: u64) -> u64 {
    (2 * gap_us + gap_us / 4).max(LEAST_PATIENCE_US)
}
