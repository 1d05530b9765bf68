//! OpenBSD: a newer timestamp or a later sequence number is accepted; of what is not, a SYN with an older
//! timestamp is dropped in silence (PAWS), any other gets the old connection's ACK.
//!
//! Read in `tcp_input()` (case TCPS_TIME_WAIT, and the check of timestamps after it), `syn_cache_add()`,
//! `tcp_set_iss_tsm()` and `tcp_slowtimo()` of 2022. 2 * TCPTV_MSL (30 s). Nobody asked it live.

use super::{Attempt, Held, Holder, Verdict, by_sequence, sequence_accepts};
use crate::flow::SECOND_US;

/// Twice the segment lifetime of 30 s.
pub const TIME_WAIT_US: u64 = 60 * SECOND_US;

/// TCP_PAWS_IDLE.
const PAWS_AGE_US: u64 = 24 * 24 * 3600 * SECOND_US;

/// TCP_ISSINCR2: how fast the numbers of its own SYNs count, in two steps a second.
pub const ISN_PER_S: u64 = 1 << 20;

/// TCP_ISS_CONN_INC: what each connection adds; both steps are multiples of it.
pub const ISN_STEP: u32 = 4096;

/// Whether a SYN/ACK out of TIME-WAIT may be its: "advance the iss by at least 32768, but clear the msb",
/// as counted from the old SND.NXT. By chance one of four may be.
#[must_use]
pub fn may_recycle_to(ahead: i32) -> bool {
    ahead > 0 && ahead & 0x8000 != 0
}

/// What the holder does with the SYN.
#[must_use]
pub fn verdict(held: &Held, attempt: &Attempt) -> Verdict {
    let timed = matches!(held.state, Holder::TimeWait | Holder::Unknown);
    match held.newer_by(attempt) {
        Some(_) if timed && sequence_accepts(held, attempt) => Verdict::Accept,
        Some(_) if held.ts_stale => Verdict::Unknown,
        Some(newer) if timed && newer > 0 => Verdict::Accept,
        Some(newer) if newer < 0 && held.ts_recent != Some(0) && held.ts_age_us < PAWS_AGE_US => {
            Verdict::RefusePaws
        }
        _ if timed => by_sequence(sequence_accepts(held, attempt)),
        _ => Verdict::RefuseInUse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tests::{HELD, with};
    use crate::host::{Model, Refusal};

    #[test]
    fn either_newer_number_is_enough_and_only_paws_is_silent() {
        for (isn, ts, said) in [
            (1, Some(-1), Verdict::Accept),
            (0, Some(1), Verdict::Accept),
            (0, Some(0), Verdict::RefuseSequence),
            (-1, None, Verdict::RefuseSequence),
            (-1, Some(-1), Verdict::RefusePaws),
        ] {
            assert_eq!(verdict(&HELD, &with(isn, ts)), said, "{isn} {ts:?}");
        }
        let open = Held { state: Holder::Established, ..HELD };
        assert_eq!(verdict(&open, &with(1, Some(1))), Verdict::RefuseInUse);
        assert_eq!(verdict(&open, &with(1, Some(-1))), Verdict::RefusePaws);
        for (verdict, gets) in
            [(Verdict::RefusePaws, Refusal::Silence), (Verdict::RefuseSequence, Refusal::Ack)]
        {
            assert_eq!(Model::OpenBsd.refusal(verdict), gets);
        }
    }

    #[test]
    fn its_recycled_numbers_have_one_bit_set_and_one_clear() {
        assert!(may_recycle_to(0x8000) && may_recycle_to(i32::MAX));
        assert!(!may_recycle_to(65_537) && !may_recycle_to(-1) && !may_recycle_to(0x7fff));
    }
}
