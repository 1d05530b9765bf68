//! FreeBSD: the sequence number alone decides, and what it refuses gets no answer.
//!
//! Read in main: `tcp_twcheck()` looks at no timestamps and drops segments without ACK; `tcp_new_isn()`
//! gives SYNs numbers on a line of 1 MiB/s; `tcp_new_ts_offset()` gives a tuple the same timestamp offset
//! each time. 2 * `net.inet.tcp.msl` (30 s) is the documented default. Nobody asked it live.

use super::{Attempt, Held, Refusal, Verdict, by_sequence, in_time_wait, sequence_accepts};
use crate::flow::SECOND_US;

/// Twice the segment lifetime of 30 s.
pub const TIME_WAIT_US: u64 = 60 * SECOND_US;

/// ISN_BYTES_PER_SECOND: how fast the numbers of its own SYNs count.
pub const ISN_PER_S: u64 = 1 << 20;

/// What the holder does with the SYN.
#[must_use]
pub fn verdict(held: &Held, attempt: &Attempt) -> Verdict {
    in_time_wait(held, || by_sequence(sequence_accepts(held, attempt)))
}

/// What a SYN gets that the verdict refuses.
#[must_use]
pub fn refusal(verdict: Verdict) -> Refusal {
    if verdict == Verdict::RefuseInUse { Refusal::Ack } else { Refusal::Silence }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tests::{HELD, with};

    #[test]
    fn the_sequence_number_alone_decides() {
        for (isn, ts, said) in [
            (1, Some(-1), Verdict::Accept),
            (1, None, Verdict::Accept),
            (0, Some(1), Verdict::RefuseSequence),
            (-1, None, Verdict::RefuseSequence),
        ] {
            assert_eq!(verdict(&HELD, &with(isn, ts)), said, "{isn} {ts:?}");
        }
        assert_eq!(refusal(Verdict::RefuseSequence), Refusal::Silence);
    }
}
