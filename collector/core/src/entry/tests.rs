//! Packing loses nothing, and setting one thing changes nothing else.

use super::*;
use proptest::prelude::*;

fn any_end() -> impl Strategy<Value = End> {
    (any::<u32>(), any::<u32>(), any::<u16>(), 0u8..16)
        .prop_map(|(next, ts_val, window, scale)| End { next, ts_val, window, scale })
}

proptest! {
    #[test]
    fn packing_loses_nothing(
        now in 1_700_000_000_000_000u64..1_900_000_000_000_000,
        back in prop::array::uniform3(0u64..500_000_000_000),
        rearmed_ms in 0u32..1 << 24, idle_ms in 0u32..1 << 24, isn: u32,
        a in any_end(), b in any_end(), state in 0usize..9, marks in 0u16..1 << 12,
    ) {
        let flow = Flow {
            first_us: now - back[0], last_us: now - back[1], changed_us: now - back[2],
            rearmed_ms, idle_ms, isn, ends: [a, b], state: State::ALL[state], marks: Marks(marks),
        };
        let entry = flow.pack();
        prop_assert_eq!(Flow::unpack(&entry, now), flow);
        prop_assert_eq!(entry.armed_us(now), flow.armed_us());
        prop_assert_eq!(entry.silent_us(now), now - flow.last_us);
        prop_assert_eq!(entry.marks().client(), flow.marks.client());
        prop_assert_eq!(entry.marks().closer(), flow.marks.closer());
        for side in [Side::A, Side::B] {
            prop_assert_eq!(entry.timestamp(side), flow.timestamp(side));
            prop_assert_eq!(entry.marks().seen(side), flow.marks.seen(side));
        }
    }

    /// What is set is read again, and nothing else changes with it.
    #[test]
    fn setting_changes_one_thing(
        words: [u64; 6], is_b: bool, number: u32, half: u16, scale in 0u8..16,
    ) {
        let (now, side) = (1_700_000_000_000_000, Side::from_bit(is_b));
        let begin = Entry(words);
        let mut entry = begin;
        entry.set_next(side, number);
        entry.set_ts_vals(side, [number, begin.ts_vals(side)[1]]);
        entry.set_window(side, half);
        entry.set_scale(side, scale);
        entry.set_isn(number);
        let mut flow = Flow::unpack(&begin, now);
        flow.isn = number;
        flow.ends[side.index()] = End { next: number, ts_val: number, window: half, scale };
        prop_assert_eq!(Flow::unpack(&entry, now), flow);
    }
}

#[test]
fn times_slightly_ahead_of_now_stay_ahead() {
    let now = 1_700_000_000_000_000;
    assert_eq!(time_near(time_and(now + 5, 3), now), now + 5);
}
