//! F5 BIG-IP: with a TCP profile it holds TIME-WAIT for 2 s and recycles it, by a rule that is not
//! documented; FastL4 passes segments on and holds none at all.
//!
//! Defaults of 17.1: `ltm profile tcp` time-wait-timeout 2000 ms, time-wait-recycle enabled; `ltm profile
//! fastl4` tcp-time-wait-timeout 0. No BIG-IP was asked live.

use super::{Attempt, Held, Holder, Refusal, Verdict};
use crate::flow::SECOND_US;

/// time-wait-timeout of a TCP profile.
pub const TIME_WAIT_US: u64 = 2 * SECOND_US;

/// tcp-time-wait-timeout of a FastL4 profile.
pub const FASTL4_TIME_WAIT_US: u64 = 0;

/// With a TCP profile: not known.
#[must_use]
pub fn verdict(_: &Held, _: &Attempt) -> Verdict {
    Verdict::Unknown
}

/// With FastL4: what is over is held by nobody.
#[must_use]
pub fn fastl4(held: &Held, _: &Attempt) -> Verdict {
    if held.state == Holder::TimeWait { Verdict::Accept } else { Verdict::Unknown }
}

/// Of no use while no refusal is foretold.
#[must_use]
pub fn refusal(_: Verdict) -> Refusal {
    Refusal::Ack
}
