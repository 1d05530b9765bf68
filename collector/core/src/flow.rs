//! One connection as the table remembers it: both ends' counters, the state seen from the wire, times.
//!
//! [`Flow`] is the working form, for the rules and for contests; [`Entry`](crate::entry::Entry) is the
//! same as it lies in the table.

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

    /// The state with this number; numbers that are none mean the last.
    #[inline]
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        match bits {
            0 => Self::SynSent,
            1 => Self::SynReceived,
            2 => Self::Established,
            3 => Self::FinWait1,
            4 => Self::FinWait2,
            5 => Self::LastAck,
            6 => Self::Closing,
            7 => Self::TimeWait,
            _ => Self::Reset,
        }
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

/// The facts about a flow, of [`marks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks(pub u16);

impl Marks {
    /// Whether any of these is set.
    #[inline]
    #[must_use]
    pub fn is(self, mask: u16) -> bool {
        self.0 & mask != 0
    }

    /// The end that sent the first FIN; meaningful from [`State::FinWait1`] on.
    #[inline]
    #[must_use]
    pub fn closer(self) -> Side {
        Side::from_bit(self.is(marks::CLOSER_IS_B))
    }

    /// The end that sent the SYN, if known.
    #[inline]
    #[must_use]
    pub fn client(self) -> Option<Side> {
        self.is(marks::CLIENT_KNOWN).then(|| Side::from_bit(self.is(marks::CLIENT_IS_B)))
    }

    /// Whether `side` was ever seen sending.
    #[inline]
    #[must_use]
    pub fn seen(self, side: Side) -> bool {
        self.is(marks::SEEN << side.index())
    }

    /// The ends that hold a connection in `state` in TIME-WAIT.
    #[inline]
    #[must_use]
    pub fn time_waits(self, state: State) -> [Option<Side>; 2] {
        let held = state == State::TimeWait;
        let both = held && self.is(marks::BOTH_CLOSED);
        [held.then_some(self.closer()), both.then_some(self.closer().peer())]
    }
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
    /// The facts about it.
    pub marks: Marks,
}

impl Flow {
    /// Whether `mark` is set.
    #[inline]
    #[must_use]
    pub fn is(&self, mark: u16) -> bool {
        self.marks.is(mark)
    }

    /// Sets or clears `mark`.
    #[inline]
    pub fn mark(&mut self, mark: u16, on: bool) {
        self.marks.0 = if on { self.marks.0 | mark } else { self.marks.0 & !mark };
    }

    /// The ends that hold it in TIME-WAIT now.
    #[must_use]
    pub fn time_waits(&self) -> [Option<Side>; 2] {
        self.marks.time_waits(self.state)
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
}
