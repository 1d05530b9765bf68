//! HAProxy's host: a full proxy has two connections of its own and holds nothing itself. The kernel below
//! it does, and is taken for a Linux of today.
//!
//! HAProxy 2.6 management guide, 4 (it runs as processes on a general kernel), and `src/fd.c`: towards
//! servers it may close by RST, which leaves no TIME-WAIT. That is seen on the wire.

use super::linux::{self, PAWS_AGE_US};
use super::{Attempt, Held, Verdict};

pub use super::linux::{TIME_WAIT_US, refusal};

/// What the kernel below HAProxy does with the SYN.
#[must_use]
pub fn verdict(held: &Held, attempt: &Attempt) -> Verdict {
    linux::verdict(held, attempt, PAWS_AGE_US)
}
