//! FreeBSD, OpenBSD and macOS, as read in their sources; none of them was asked live.

use super::{Attempt, Held, Holder, Verdict, sequence_accepts};
use crate::flow::SECOND_US;
use crate::seq::ahead;

/// Twice the segment lifetime of 30 s (FreeBSD and OpenBSD).
pub const TIME_WAIT_US: u64 = 60 * SECOND_US;

/// Twice macOS's segment lifetime of 15 s.
pub const MACOS_TIME_WAIT_US: u64 = 30 * SECOND_US;

/// FreeBSD, `tcp_twcheck()`: the sequence number alone decides, timestamps are not looked at.
#[must_use]
pub fn freebsd(held: &Held, attempt: &Attempt) -> Verdict {
    in_time_wait(held, || by_sequence(sequence_accepts(held, attempt)))
}

/// OpenBSD, `tcp_input()`: a newer timestamp or a later sequence number; no PAWS before that.
#[must_use]
pub fn openbsd(held: &Held, attempt: &Attempt) -> Verdict {
    in_time_wait(held, || match timestamps(held, attempt) {
        Some(_) if sequence_accepts(held, attempt) => Verdict::Accept,
        Some(_) if held.ts_stale => Verdict::Unknown,
        Some(newer) if newer > 0 => Verdict::Accept,
        _ => by_sequence(sequence_accepts(held, attempt)),
    })
}

/// macOS (xnu): PAWS first; then the sequence number must lie beyond the old window.
#[must_use]
pub fn macos(held: &Held, attempt: &Attempt) -> Verdict {
    in_time_wait(held, || match timestamps(held, attempt) {
        Some(_) if held.ts_stale => Verdict::Unknown,
        Some(newer) if newer < 0 => Verdict::RefusePaws,
        _ => {
            let into = i64::from(ahead(attempt.isn, held.expected));
            match held.window {
                _ if into <= 0 => Verdict::RefuseSequence,
                Some(window) => by_sequence(into > i64::from(window)),
                None => Verdict::Unknown,
            }
        }
    })
}

/// New TSval minus TS.Recent, where both are there.
fn timestamps(held: &Held, attempt: &Attempt) -> Option<i32> {
    held.ts_recent.zip(attempt.ts_val).map(|(recent, ts_val)| ahead(ts_val, recent))
}

fn by_sequence(accepts: bool) -> Verdict {
    if accepts { Verdict::Accept } else { Verdict::RefuseSequence }
}

/// In all other states a challenge ACK is due (RFC 5961, 4.2).
fn in_time_wait(held: &Held, verdict: impl FnOnce() -> Verdict) -> Verdict {
    match held.state {
        Holder::TimeWait | Holder::Unknown => verdict(),
        _ => Verdict::RefuseInUse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(
        model: fn(&Held, &Attempt) -> Verdict,
        isn_delta: i32,
        ts_delta: Option<i32>,
    ) -> Verdict {
        let held = Held {
            state: Holder::TimeWait,
            expected: 1000,
            ts_recent: Some(5000),
            ts_stale: false,
            ts_age_us: SECOND_US,
            window: Some(65_535),
            limited: true,
        };
        let isn = 1000u32.wrapping_add_signed(isn_delta);
        let ts_val = ts_delta.map(|delta| 5000u32.wrapping_add_signed(delta));
        model(&held, &Attempt { isn, ts_val })
    }

    #[test]
    fn each_goes_by_its_own_rule() {
        use Verdict::{Accept, RefusePaws, RefuseSequence};
        for (isn, ts, on_freebsd, on_openbsd, on_macos) in [
            (1, Some(-1), Accept, Accept, RefusePaws),
            (100_000, Some(-1), Accept, Accept, RefusePaws),
            (0, Some(1), RefuseSequence, Accept, RefuseSequence),
            (1, Some(1), Accept, Accept, RefuseSequence),
            (65_536, Some(1), Accept, Accept, Accept),
            (-1, None, RefuseSequence, RefuseSequence, RefuseSequence),
            (-1, Some(-1), RefuseSequence, RefuseSequence, RefusePaws),
        ] {
            let said = [freebsd, openbsd, macos].map(|model| ask(model, isn, ts));
            assert_eq!(said, [on_freebsd, on_openbsd, on_macos], "{isn} {ts:?}");
        }
    }
}
