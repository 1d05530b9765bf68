//! Windows: how long it holds TIME-WAIT is documented, what it does with a SYN is not. So it is reported,
//! and nothing is foretold.
//!
//! TcpTimedWaitDelay: 240 s in Windows 2000 (Microsoft cc938217), 120 s since Windows Server 2003
//! (cc757512).

use super::{Attempt, Held, Refusal, Verdict};
use crate::flow::SECOND_US;

/// TcpTimedWaitDelay since Windows Server 2003.
pub const TIME_WAIT_US: u64 = 120 * SECOND_US;

/// Not known.
#[must_use]
pub fn verdict(_: &Held, _: &Attempt) -> Verdict {
    Verdict::Unknown
}

/// Of no use while nothing is foretold.
#[must_use]
pub fn refusal(_: Verdict) -> Refusal {
    Refusal::Ack
}
