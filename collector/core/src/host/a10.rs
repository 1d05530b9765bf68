//! A10: a session is kept for the `msl-time` after it ended; what a SYN meets then is not documented.
//!
//! aXAPI, slb virtual-port template: `ignore-tcp-msl`, `msl-time` (2 s). All of it is the A10's own state:
//! none of it changes how long a server behind it holds TIME-WAIT.

use super::{Attempt, Held, Refusal, Verdict};
use crate::flow::SECOND_US;

/// `msl-time`.
pub const TIME_WAIT_US: u64 = 2 * SECOND_US;

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
