//! One connection as the table remembers it: both ends' counters, the state seen from the wire, times.
//!
//! [`Flow`] is the working form; [`Flow::pack`] makes the 48 bytes that lie in the table. What a
//! segment does to it stands in `advance`.

use crate::tuple::Side;

/// Microseconds in a second.
pub const SECOND_US: u64 = 1_000_000;

/// `Flow::idle_ms` where nothing was seen before the first FIN.
pub const IDLE_UNKNOWN: u32 = (1 << 24) - 1;

/// The window shift where no SYN was seen.
pub const SCALE_UNKNOWN: u8 = 15;

/// Where a connection stands, seen from the wire. The *closer* is the end that sent the first FIN,
/// the *other* end is its peer (RFC 9293, 3.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// A SYN was seen, nothing else.
    SynSent = 0,
    /// A SYN/ACK was seen, its ACK was not.
    SynReceived = 1,
    /// Data may flow.
    Established = 2,
    /// The closer sent its FIN, which is not acknowledged: FIN-WAIT-1 there, CLOSE-WAIT at the other.
    FinWait1 = 3,
    /// The closer's FIN is acknowledged: FIN-WAIT-2 there, CLOSE-WAIT at the other.
    FinWait2 = 4,
    /// The other's FIN was seen too, not yet acknowledged: LAST-ACK there.
    LastAck = 5,
    /// Both FINs crossed: CLOSING at both.
    Closing = 6,
    /// The closer acknowledged the other's FIN: TIME-WAIT at the closer, CLOSED at the other.
    TimeWait = 7,
    /// Ended by RST, or the holder was killed by one: nobody holds anything.
    Reset = 8,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::SynSent,
        Self::SynReceived,
        Self::Established,
        Self::FinWait1,
        Self::FinWait2,
        Self::LastAck,
        Self::Closing,
        Self::TimeWait,
        Self::Reset,
    ];

    #[inline]
    fn from_bits(bits: u64) -> Self {
        Self::ALL.get(bits as usize).copied().unwrap_or(Self::Reset)
    }
}

/// One-bit facts about a flow.
pub mod marks {
    /// The client (the end that sent the SYN) is side B.
    pub const CLIENT_IS_B: u16 = 1;
    /// The client is known: its SYN or the SYN/ACK to it was seen.
    pub const CLIENT_KNOWN: u16 = 1 << 1;
    /// The closer is side B.
    pub const CLOSER_IS_B: u16 = 1 << 2;
    /// Both ends sent their FIN before seeing the other's: both hold TIME-WAIT.
    pub const BOTH_CLOSED: u16 = 1 << 3;
    /// Side A's segments carry timestamps; shift by the side's index for B.
    pub const TIMESTAMPS: u16 = 1 << 4;
    /// Side A sent something that was seen; shift by the side's index for B.
    pub const SEEN: u16 = 1 << 6;
    /// A newer SYN contests this tuple; the attempt is in the contests.
    pub const CONTESTED: u16 = 1 << 8;
    /// An empty segment out of the window was the last to reach the holder in TIME-WAIT: its answer
    /// arms the holder's rate limiter.
    pub const LIMITED: u16 = 1 << 9;
    /// The other's TSval was seen since the first FIN.
    pub const TIMESTAMP_FRESH: u16 = 1 << 10;
    /// The connection's own SYN/ACK was seen, so its server's numbers are from the start.
    pub const SYN_ACK_SEEN: u16 = 1 << 11;
}

/// What is remembered of one end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// The next sequence number it will send (SND.NXT), as far as seen.
    pub next: u32,
    /// The last TSval of it that its peer accepted: the peer's TS.Recent (RFC 7323, 4.3).
    pub ts_val: u32,
    /// The window it last advertised, unscaled.
    pub window: u16,
    /// The shift for that window, or [`SCALE_UNKNOWN`].
    pub scale: u8,
}

/// One connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// First packet, microseconds.
    pub first_us: u64,
    /// Last packet, microseconds.
    pub last_us: u64,
    /// When `state` began, microseconds.
    pub changed_us: u64,
    /// The last re-arming of TIME-WAIT's timer, milliseconds after `changed_us`.
    pub rearmed_ms: u32,
    /// Silence before the first FIN, milliseconds, or [`IDLE_UNKNOWN`].
    pub idle_ms: u32,
    /// The client's initial sequence number; meaningful with [`marks::CLIENT_KNOWN`].
    pub isn: u32,
    /// Both ends, A then B.
    pub ends: [End; 2],
    /// Where it stands.
    pub state: State,
    /// See [`marks`].
    pub marks: u16,
}

impl Flow {
    /// 64-bit words of the packed form.
    pub const WORDS: usize = 6;

    /// Whether `mark` is set.
    #[inline]
    #[must_use]
    pub fn is(&self, mark: u16) -> bool {
        self.marks & mark != 0
    }

    /// Sets or clears `mark`.
    #[inline]
    pub fn mark(&mut self, mark: u16, on: bool) {
        self.marks = if on { self.marks | mark } else { self.marks & !mark };
    }

    /// The end that sent the first FIN; meaningful from [`State::FinWait1`] on.
    #[inline]
    #[must_use]
    pub fn closer(&self) -> Side {
        Side::from_bit(self.is(marks::CLOSER_IS_B))
    }

    /// The ends that hold it in TIME-WAIT now.
    #[must_use]
    pub fn time_waits(&self) -> [Option<Side>; 2] {
        let held = self.state == State::TimeWait;
        let closer = self.closer();
        let both = held && self.is(marks::BOTH_CLOSED);
        [held.then_some(closer), both.then_some(closer.peer())]
    }

    /// The end that sent the SYN, if known.
    #[inline]
    #[must_use]
    pub fn client(&self) -> Option<Side> {
        self.is(marks::CLIENT_KNOWN).then(|| Side::from_bit(self.is(marks::CLIENT_IS_B)))
    }

    /// Whether `side` was ever seen sending.
    #[inline]
    #[must_use]
    pub fn seen(&self, side: Side) -> bool {
        self.is(marks::SEEN << side.index())
    }

    /// The last TSval of `side`, if its segments carry timestamps.
    #[inline]
    #[must_use]
    pub fn timestamp(&self, side: Side) -> Option<u32> {
        self.is(marks::TIMESTAMPS << side.index()).then(|| self.ends[side.index()].ts_val)
    }

    /// The end at `side`.
    #[inline]
    #[must_use]
    pub fn end(&self, side: Side) -> &End {
        &self.ends[side.index()]
    }

    /// When TIME-WAIT's (or an orphan's FIN-WAIT-2) timer was last set.
    #[inline]
    #[must_use]
    pub fn armed_us(&self) -> u64 {
        self.changed_us + u64::from(self.rearmed_ms) * 1000
    }

    /// Sets TIME-WAIT's timer anew.
    pub fn rearm(&mut self, now_us: u64) {
        let ms = now_us.saturating_sub(self.changed_us) / 1000;
        self.rearmed_ms = u32::try_from(ms).unwrap_or(u32::MAX).min((1 << 24) - 1);
    }

    /// Enters `state` at `now_us`.
    pub fn enter(&mut self, state: State, now_us: u64) {
        self.state = state;
        self.changed_us = now_us;
        self.rearmed_ms = 0;
    }

    /// What decides how long it is kept.
    #[inline]
    #[must_use]
    pub fn brief(&self) -> Brief {
        Brief {
            state: self.state,
            contested: self.is(marks::CONTESTED),
            last_us: self.last_us,
            armed_us: self.armed_us(),
        }
    }

    /// The 48 bytes that lie in the table. Times keep their low 40 bits, in microseconds.
    #[inline]
    #[must_use]
    pub fn pack(&self) -> [u64; Self::WORDS] {
        let [a, b] = &self.ends;
        let scales = u64::from(a.scale & 15) | u64::from(b.scale & 15) << 4;
        let kind = (self.state as u64) << 20 | u64::from(self.marks & 0xfff) << 8 | scales;
        [
            time_and(self.first_us, u64::from(self.idle_ms)),
            time_and(self.last_us, u64::from(self.rearmed_ms)),
            time_and(self.changed_us, kind),
            u64::from(self.isn) << 32 | u64::from(a.window) << 16 | u64::from(b.window),
            u64::from(a.next) << 32 | u64::from(b.next),
            u64::from(a.ts_val) << 32 | u64::from(b.ts_val),
        ]
    }

    /// The working form. Times are completed to those nearest `now_us`: at most 6.3 days away.
    #[inline]
    #[must_use]
    pub fn unpack(words: &[u64; Self::WORDS], now_us: u64) -> Self {
        let kind = words[2] & LOW_24;
        let end = |shift: u32, window: u64, scale: u64| End {
            next: (words[4] >> shift) as u32,
            ts_val: (words[5] >> shift) as u32,
            window: window as u16,
            scale: (scale & 15) as u8,
        };
        Self {
            first_us: time_near(words[0], now_us),
            last_us: time_near(words[1], now_us),
            changed_us: time_near(words[2], now_us),
            rearmed_ms: (words[1] & LOW_24) as u32,
            idle_ms: (words[0] & LOW_24) as u32,
            isn: (words[3] >> 32) as u32,
            ends: [end(32, words[3] >> 16, kind), end(0, words[3], kind >> 4)],
            state: State::from_bits(kind >> 20),
            marks: (kind >> 8 & 0xfff) as u16,
        }
    }
}

/// What decides how long a flow is kept, read without the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brief {
    /// Where it stands.
    pub state: State,
    /// Whether a newer SYN contests its tuple.
    pub contested: bool,
    /// Last packet, microseconds.
    pub last_us: u64,
    /// As [`Flow::armed_us`].
    pub armed_us: u64,
}

impl Brief {
    /// Reads it from the packed form; times as in [`Flow::unpack`].
    #[inline]
    #[must_use]
    pub fn of(words: &[u64; Flow::WORDS], now_us: u64) -> Self {
        let kind = words[2] & LOW_24;
        Self {
            state: State::from_bits(kind >> 20),
            contested: kind >> 8 & u64::from(marks::CONTESTED) != 0,
            last_us: time_near(words[1], now_us),
            armed_us: time_near(words[2], now_us) + (words[1] & LOW_24) * 1000,
        }
    }
}

const LOW_24: u64 = (1 << 24) - 1;

/// A time's low 40 bits with 24 bits of something else.
#[inline]
fn time_and(us: u64, low: u64) -> u64 {
    us << 24 | (low & LOW_24)
}

/// The time nearest `now_us` whose low 40 bits stand in the word's upper part.
#[inline]
fn time_near(word: u64, now_us: u64) -> u64 {
    let ahead = (word & !LOW_24).wrapping_sub(now_us << 24).cast_signed() >> 24;
    now_us.saturating_add_signed(ahead)
}

#[cfg(test)]
mod tests {
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
                rearmed_ms, idle_ms, isn, ends: [a, b], state: State::ALL[state], marks,
            };
            prop_assert_eq!(Flow::unpack(&flow.pack(), now), flow);
            prop_assert_eq!(Brief::of(&flow.pack(), now), flow.brief());
        }
    }

    #[test]
    fn times_slightly_ahead_of_now_stay_ahead() {
        let now = 1_700_000_000_000_000;
        assert_eq!(time_near(time_and(now + 5, 3), now), now + 5);
    }
}
