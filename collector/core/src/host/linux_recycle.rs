//! Linux before 4.12 with `tcp_tw_recycle` on: with timestamps TIME-WAIT is soon over, and what is behind
//! a host's last timestamp is dropped in silence.
//!
//! Read in 2.6.32 `tcp_v4_conn_request()` and 3.10 `tcp_peer_is_proven()`, `tcp_time_wait()`; removed by
//! commit 4396e46187ca. No kernel of that age was asked live.

use super::linux::{self, PAWS_24_DAYS_US};
use super::{Attempt, Held, Holder, Verdict};
use crate::flow::SECOND_US;
use crate::seq::ahead;

pub use super::linux::{TIME_WAIT_US, refusal};

/// TCP_PAWS_MSL: how long the last timestamp of a host is remembered.
const HOST_REMEMBERED_US: u64 = 60 * SECOND_US;

/// What the holder does with the SYN. With timestamps TIME-WAIT lasts 3.5 RTO, whose end is not seen.
#[must_use]
pub fn verdict(held: &Held, attempt: &Attempt) -> Verdict {
    let ordinary = linux::verdict(held, attempt, PAWS_24_DAYS_US);
    let Some(recent) = held.ts_recent.filter(|_| held.state == Holder::TimeWait) else {
        return ordinary;
    };
    match attempt.ts_val {
        _ if held.ts_stale => Verdict::Unknown,
        Some(ts_val) if ahead(recent, ts_val) > 1 && held.ts_age_us < HOST_REMEMBERED_US => {
            Verdict::Silent
        }
        _ if ordinary == Verdict::Accept => Verdict::Accept,
        // Refused while TIME-WAIT lasts, accepted after; its end is not seen.
        _ => Verdict::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tests::{HELD, with};

    #[test]
    fn what_is_behind_is_dropped_and_time_wait_is_short() {
        assert_eq!(verdict(&HELD, &with(1, Some(-2))), Verdict::Silent);
        assert_eq!(verdict(&HELD, &with(1, Some(1))), Verdict::Accept);
        assert_eq!(verdict(&HELD, &with(-1, None)), Verdict::Unknown);
        let without = Held { ts_recent: None, ..HELD };
        assert_eq!(verdict(&without, &with(-1, None)), Verdict::RefuseSequence);
        let later = Held { ts_age_us: HOST_REMEMBERED_US, ..HELD };
        assert_eq!(verdict(&later, &with(1, Some(-2))), Verdict::Unknown);
    }
}
