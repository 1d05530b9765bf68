//! Linux: `tcp_timewait_state_process()` and the challenge ACKs of full sockets.
//!
//! Read at 2.6.24, 3.10, 6.1 and 6.18, where the rule is the same, and held against a live kernel by
//! the project's judge test. Constants that are sysctls stand at their defaults.

use super::{Attempt, Held, Holder, Refusal, Verdict, sequence_accepts};
use crate::flow::SECOND_US;
use crate::seq::ahead;

/// TCP_TIMEWAIT_LEN and the default `tcp_fin_timeout`: both 60 s.
pub const TIME_WAIT_US: u64 = 60 * SECOND_US;

/// `net.ipv4.tcp_invalid_ratelimit`: one out-of-window ACK per 500 ms and connection (since 4.0).
pub const ACK_LIMIT_US: u64 = SECOND_US / 2;

/// How far the ISN of a SYN/ACK that recycles TIME-WAIT is ahead of the old SND.NXT.
pub const RECYCLED_ISN_AHEAD: u32 = 65537;

/// TCP_PAWS_WRAP: TS.Recent older than this does not refuse (6.7 and later; before, 24 days).
pub const PAWS_AGE_US: u64 = 2147 * SECOND_US;

/// TCP_PAWS_24DAYS: the same before 6.7.
pub const PAWS_24_DAYS_US: u64 = 24 * 24 * 3600 * SECOND_US;

/// What the holder does with the SYN; `paws_age_us` is [`PAWS_AGE_US`] or [`PAWS_24_DAYS_US`].
#[must_use]
pub fn verdict(held: &Held, attempt: &Attempt, paws_age_us: u64) -> Verdict {
    let verdict = unlimited(held, attempt, paws_age_us);
    let acks =
        matches!(verdict, Verdict::RefusePaws | Verdict::RefuseSequence | Verdict::RefuseInUse);
    if acks && held.limited { Verdict::Silent } else { verdict }
}

/// What a SYN gets that the verdict refuses: always the old connection's ACK.
#[must_use]
pub fn refusal(_: Verdict) -> Refusal {
    Refusal::Ack
}

fn unlimited(held: &Held, attempt: &Attempt, paws_age_us: u64) -> Verdict {
    match held.state {
        Holder::TimeWait | Holder::Unknown => time_wait(held, attempt, paws_age_us),
        Holder::FinWait2 => fin_wait2(held, attempt, paws_age_us),
        // RFC 5961, 4.2: "irrespective of the sequence number, TCP MUST send an ACK".
        _ => Verdict::RefuseInUse,
    }
}

/// A TIME-WAIT socket takes a SYN that PAWS does not veto and whose sequence number or timestamp is
/// newer than the old connection's.
fn time_wait(held: &Held, attempt: &Attempt, paws_age_us: u64) -> Verdict {
    let timestamps = held.ts_recent.zip(attempt.ts_val);
    if timestamps.is_some() && held.ts_stale {
        return Verdict::Unknown;
    }
    if paws_rejects(held, attempt, paws_age_us) {
        return Verdict::RefusePaws;
    }
    let newer = timestamps.is_some_and(|(recent, ts_val)| ahead(recent, ts_val) < 0);
    if newer || sequence_accepts(held, attempt) { Verdict::Accept } else { Verdict::RefuseSequence }
}

/// An orphaned FIN-WAIT-2 is a small socket that answers RST to a SYN inside its window. A full one
/// (its process still has it open) answers a challenge ACK; from the wire they look alike before.
fn fin_wait2(held: &Held, attempt: &Attempt, paws_age_us: u64) -> Verdict {
    if paws_rejects(held, attempt, paws_age_us) {
        return Verdict::RefusePaws;
    }
    let into = ahead(attempt.isn, held.expected);
    match held.window {
        _ if into < 0 => Verdict::RefuseInUse,
        _ if into == 0 => Verdict::ResetInWindow,
        Some(window) if into.cast_unsigned() < window => Verdict::ResetInWindow,
        Some(_) => Verdict::RefuseInUse,
        None => Verdict::Unknown,
    }
}

/// `tcp_paws_reject()`: a timestamp behind TS.Recent, unless that is 0 or too old to tell.
fn paws_rejects(held: &Held, attempt: &Attempt, paws_age_us: u64) -> bool {
    let Some((recent, ts_val)) = held.ts_recent.zip(attempt.ts_val) else { return false };
    recent != 0 && ahead(recent, ts_val) > 0 && held.ts_age_us < paws_age_us
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(held: &Held, attempt: &Attempt) -> Verdict {
        super::verdict(held, attempt, PAWS_AGE_US)
    }

    const EXPECTED: u32 = 3_000_000_000;
    const RECENT: u32 = 3_135_574_931;

    fn held(state: Holder) -> Held {
        Held {
            state,
            expected: EXPECTED,
            ts_recent: Some(RECENT),
            ts_stale: false,
            ts_age_us: SECOND_US,
            window: Some(65_535),
            limited: false,
        }
    }

    fn with(isn_delta: i64, ts_delta: Option<i64>) -> Attempt {
        Attempt {
            isn: EXPECTED.wrapping_add(isn_delta as u32),
            ts_val: ts_delta.map(|delta| RECENT.wrapping_add(delta as u32)),
        }
    }

    /// The whole table of the live kernel: rows are sequence deltas, columns timestamp deltas.
    #[test]
    fn time_wait_with_timestamps_is_the_measured_table() {
        let before = [-(1 << 30), -1_000_000, -1, 0];
        let after = [1, 1000, 1_000_000, 352_641_030, (1 << 31) - 1, 1 << 31];
        let old = [-1_159_862, -1];
        let newer = [1, 1000, 1 << 31];
        let at = |seq, ts| verdict(&held(Holder::TimeWait), &with(seq, ts));
        for seq in before {
            assert_eq!(at(seq, None), Verdict::RefuseSequence);
            assert_eq!(at(seq, Some(0)), Verdict::RefuseSequence);
        }
        for seq in after {
            assert_eq!(at(seq, None), Verdict::Accept);
            assert_eq!(at(seq, Some(0)), Verdict::Accept);
        }
        for seq in before.into_iter().chain(after) {
            for ts in old {
                assert_eq!(at(seq, Some(ts)), Verdict::RefusePaws);
            }
            for ts in newer {
                assert_eq!(at(seq, Some(ts)), Verdict::Accept);
            }
        }
    }

    #[test]
    fn without_old_timestamps_the_sequence_alone_decides() {
        let held = Held { ts_recent: None, ..held(Holder::TimeWait) };
        assert_eq!(verdict(&held, &with(0, Some(1000))), Verdict::RefuseSequence);
        assert_eq!(verdict(&held, &with(1, Some(-1000))), Verdict::Accept);
    }

    #[test]
    fn a_zero_or_aged_ts_recent_refuses_nothing() {
        let zero = Held { ts_recent: Some(0), ..held(Holder::TimeWait) };
        assert_eq!(
            verdict(&zero, &Attempt { isn: EXPECTED, ts_val: Some(u32::MAX) }),
            Verdict::RefuseSequence
        );
        let aged = Held { ts_age_us: PAWS_AGE_US, ..held(Holder::TimeWait) };
        assert_eq!(verdict(&aged, &with(1, Some(-1))), Verdict::Accept);
        let before = super::verdict(&aged, &with(1, Some(-1)), PAWS_24_DAYS_US);
        assert_eq!(before, Verdict::RefusePaws, "before 6.7");
    }

    #[test]
    fn fin_wait2_resets_inside_its_window_and_never_accepts() {
        let held = held(Holder::FinWait2);
        for (seq, ts, expected) in [
            (0, Some(1), Verdict::ResetInWindow),
            (65_534, None, Verdict::ResetInWindow),
            (65_535, None, Verdict::RefuseInUse),
            (-1, Some(1), Verdict::RefuseInUse),
            (1000, Some(-1), Verdict::RefusePaws),
        ] {
            assert_eq!(verdict(&held, &with(seq, ts)), expected, "{seq} {ts:?}");
        }
    }

    #[test]
    fn the_limiter_silences_acks_but_not_resets_or_acceptance() {
        let limited = |state| Held { limited: true, ..held(state) };
        assert_eq!(verdict(&limited(Holder::TimeWait), &with(1, Some(-1))), Verdict::Silent);
        assert_eq!(verdict(&limited(Holder::TimeWait), &with(1, Some(1))), Verdict::Accept);
        assert_eq!(verdict(&limited(Holder::FinWait2), &with(0, None)), Verdict::ResetInWindow);
        assert_eq!(verdict(&limited(Holder::Established), &with(0, None)), Verdict::Silent);
    }
}
