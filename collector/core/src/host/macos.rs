//! macOS: PAWS first; then the sequence number must lie beyond the old window.
//!
//! Read in xnu-11417, `tcp_input()`: PAWS drops in silence, else an ACK, and the segment lifetime is 15 s.
//! Nobody asked it live.

use super::{Attempt, Held, Verdict, by_sequence, in_time_wait};
use crate::flow::SECOND_US;
use crate::seq::ahead;

/// Twice the segment lifetime of 15 s.
pub const TIME_WAIT_US: u64 = 30 * SECOND_US;

/// What the holder does with the SYN.
#[must_use]
pub fn verdict(held: &Held, attempt: &Attempt) -> Verdict {
    in_time_wait(held, || match held.newer_by(attempt) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tests::{HELD, with};

    #[test]
    fn paws_is_first_and_the_window_must_be_passed() {
        for (isn, ts, said) in [
            (100_000, Some(-1), Verdict::RefusePaws),
            (1, Some(1), Verdict::RefuseSequence),
            (65_536, Some(1), Verdict::Accept),
            (-1, None, Verdict::RefuseSequence),
        ] {
            assert_eq!(verdict(&HELD, &with(isn, ts)), said, "{isn} {ts:?}");
        }
    }
}
