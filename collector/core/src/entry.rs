//! A connection as it lies in the table: six words, read and changed where they are.
//!
//! [`Flow`] is the same unpacked, for whoever asks many things of it. What a segment does to an entry
//! stands in `advance`.

use crate::flow::{End, Flow, IDLE_UNKNOWN, Marks, SCALE_UNKNOWN, State, marks};
use crate::tuple::Side;

/// Words of an entry.
pub const WORDS: usize = 6;

/// What each word holds: a time's low 40 bits (microseconds) above 24 bits of something else, or a
/// number of side A above one of side B.
mod word {
    /// The first packet; `idle_ms`.
    pub const FIRST: usize = 0;
    /// The last packet; `rearmed_ms`.
    pub const LAST: usize = 1;
    /// When the state began; state (4 bits), marks (12), window shifts of B and A (4 each).
    pub const STATE: usize = 2;
    /// The client's ISN (32 bits), windows of A and B (16 each).
    pub const WINDOWS: usize = 3;
    /// The next sequence numbers.
    pub const NEXT: usize = 4;
    /// The last TSvals.
    pub const TS_VAL: usize = 5;
}

const LOW_24: u64 = (1 << 24) - 1;
const STATE_AT: u32 = 20;
const MARKS_AT: u32 = 8;

/// One connection, packed. Times keep their low 40 bits: those asked for must lie within 6.3 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry([u64; WORDS]);

impl Entry {
    /// A connection of which nothing is known, at `now_us`.
    #[inline]
    #[must_use]
    pub fn new(state: State, now_us: u64) -> Self {
        let scales = u64::from(SCALE_UNKNOWN) << 4 | u64::from(SCALE_UNKNOWN);
        let kind = (state as u64) << STATE_AT | scales;
        let time = now_us << 24;
        Self([time | u64::from(IDLE_UNKNOWN), time, time | kind, 0, 0, 0])
    }

    /// From the words that lie in the table.
    #[inline]
    #[must_use]
    pub fn from_words(words: &[u64; WORDS]) -> Self {
        Self(*words)
    }

    /// The words that lie in the table.
    #[inline]
    #[must_use]
    pub fn words(&self) -> &[u64; WORDS] {
        &self.0
    }

    /// Where it stands.
    #[inline]
    #[must_use]
    pub fn state(&self) -> State {
        State::from_bits(self.0[word::STATE] >> STATE_AT & 15)
    }

    /// The facts about it.
    #[inline]
    #[must_use]
    pub fn marks(&self) -> Marks {
        Marks((self.0[word::STATE] >> MARKS_AT & 0xfff) as u16)
    }

    /// Whether any of these marks is set.
    #[inline]
    #[must_use]
    pub fn is(&self, mark: u16) -> bool {
        self.marks().is(mark)
    }

    /// Sets or clears marks.
    #[inline]
    pub fn mark(&mut self, mark: u16, on: bool) {
        let bits = u64::from(mark) << MARKS_AT;
        let kept = self.0[word::STATE] & !bits;
        self.0[word::STATE] = kept | if on { bits } else { 0 };
    }

    /// The last TSval of `side`, if its segments carry timestamps.
    #[inline]
    #[must_use]
    pub fn timestamp(&self, side: Side) -> Option<u32> {
        let known = self.is(marks::TIMESTAMPS << side.index());
        known.then(|| turned(self.0[word::TS_VAL], side) as u32)
    }

    /// The client's initial sequence number; meaningful with [`marks::CLIENT_KNOWN`].
    #[inline]
    #[must_use]
    pub fn isn(&self) -> u32 {
        (self.0[word::WINDOWS] >> 32) as u32
    }

    /// Sets the client's initial sequence number.
    #[inline]
    pub fn set_isn(&mut self, isn: u32) {
        let windows = self.0[word::WINDOWS] & 0xffff_ffff;
        self.0[word::WINDOWS] = u64::from(isn) << 32 | windows;
    }

    /// The next sequence number of `side`.
    #[inline]
    #[must_use]
    pub fn next(&self, side: Side) -> u32 {
        turned(self.0[word::NEXT], side) as u32
    }

    /// Sets the next sequence number of `side`.
    #[inline]
    pub fn set_next(&mut self, side: Side, next: u32) {
        let [_, peer] = self.nexts(side);
        self.set_nexts(side, [next, peer]);
    }

    /// Both ends' next sequence numbers: that of `side`, then its peer's.
    #[inline]
    #[must_use]
    pub fn nexts(&self, side: Side) -> [u32; 2] {
        halves(self.0[word::NEXT], side)
    }

    /// Sets both.
    #[inline]
    pub fn set_nexts(&mut self, side: Side, nexts: [u32; 2]) {
        self.0[word::NEXT] = joined(nexts, side);
    }

    /// Both ends' last TSvals, known or not: that of `side`, then its peer's.
    #[inline]
    #[must_use]
    pub fn ts_vals(&self, side: Side) -> [u32; 2] {
        halves(self.0[word::TS_VAL], side)
    }

    /// Sets both.
    #[inline]
    pub fn set_ts_vals(&mut self, side: Side, ts_vals: [u32; 2]) {
        self.0[word::TS_VAL] = joined(ts_vals, side);
    }

    /// The window that `side` last advertised, unscaled.
    #[inline]
    #[must_use]
    pub fn window(&self, side: Side) -> u16 {
        (self.0[word::WINDOWS] >> window_at(side)) as u16
    }

    /// Sets the window of `side`.
    #[inline]
    pub fn set_window(&mut self, side: Side, window: u16) {
        let kept = self.0[word::WINDOWS] & !(0xffff << window_at(side));
        self.0[word::WINDOWS] = kept | u64::from(window) << window_at(side);
    }

    /// The window shift of `side`, or [`SCALE_UNKNOWN`].
    #[inline]
    #[must_use]
    pub fn scale(&self, side: Side) -> u8 {
        (self.0[word::STATE] >> (4 * side.index()) & 15) as u8
    }

    /// Sets the window shift of `side`.
    #[inline]
    pub fn set_scale(&mut self, side: Side, scale: u8) {
        let at = 4 * side.index();
        self.0[word::STATE] = self.0[word::STATE] & !(15 << at) | u64::from(scale & 15) << at;
    }

    /// First packet, microseconds.
    #[inline]
    #[must_use]
    pub fn first_us(&self, now_us: u64) -> u64 {
        time_near(self.0[word::FIRST], now_us)
    }

    /// Whether `now_us` is the time of the first packet.
    #[inline]
    #[must_use]
    pub fn began_at(&self, now_us: u64) -> bool {
        (self.0[word::FIRST] ^ now_us << 24) >> 24 == 0
    }

    /// Last packet, microseconds.
    #[inline]
    #[must_use]
    pub fn last_us(&self, now_us: u64) -> u64 {
        time_near(self.0[word::LAST], now_us)
    }

    /// Time since the last packet, microseconds; 0 where that lies ahead.
    #[inline]
    #[must_use]
    pub fn silent_us(&self, now_us: u64) -> u64 {
        let since = (now_us << 24).wrapping_sub(self.0[word::LAST] & !LOW_24).cast_signed() >> 24;
        since.max(0).cast_unsigned()
    }

    /// Sets the time of the last packet.
    #[inline]
    pub fn set_last(&mut self, now_us: u64) {
        self.0[word::LAST] = now_us << 24 | self.0[word::LAST] & LOW_24;
    }

    /// When the state began, microseconds.
    #[inline]
    #[must_use]
    pub fn changed_us(&self, now_us: u64) -> u64 {
        time_near(self.0[word::STATE], now_us)
    }

    /// When TIME-WAIT's (or an orphan's FIN-WAIT-2) timer was last set.
    #[inline]
    #[must_use]
    pub fn armed_us(&self, now_us: u64) -> u64 {
        self.changed_us(now_us) + (self.0[word::LAST] & LOW_24) * 1000
    }

    /// Sets TIME-WAIT's timer anew.
    #[inline]
    pub fn rearm(&mut self, now_us: u64) {
        let ms = now_us.saturating_sub(self.changed_us(now_us)) / 1000;
        self.0[word::LAST] = self.0[word::LAST] & !LOW_24 | ms.min(LOW_24);
    }

    /// Sets the silence before the first FIN, milliseconds.
    #[inline]
    pub fn set_idle(&mut self, idle_ms: u32) {
        self.0[word::FIRST] = self.0[word::FIRST] & !LOW_24 | u64::from(idle_ms) & LOW_24;
    }

    /// Enters `state` at `now_us`.
    #[inline]
    pub fn enter(&mut self, state: State, now_us: u64) {
        let kept = self.0[word::STATE] & ((1 << STATE_AT) - 1);
        self.0[word::STATE] = now_us << 24 | (state as u64) << STATE_AT | kept;
        self.0[word::LAST] &= !LOW_24;
    }
}

impl Flow {
    /// The form that lies in the table.
    #[inline]
    #[must_use]
    pub fn pack(&self) -> Entry {
        let [a, b] = &self.ends;
        let scales = u64::from(a.scale & 15) | u64::from(b.scale & 15) << 4;
        let marks = u64::from(self.marks.0 & 0xfff) << MARKS_AT;
        let kind = (self.state as u64) << STATE_AT | marks | scales;
        Entry([
            time_and(self.first_us, u64::from(self.idle_ms)),
            time_and(self.last_us, u64::from(self.rearmed_ms)),
            time_and(self.changed_us, kind),
            u64::from(self.isn) << 32 | u64::from(a.window) << 16 | u64::from(b.window),
            u64::from(a.next) << 32 | u64::from(b.next),
            u64::from(a.ts_val) << 32 | u64::from(b.ts_val),
        ])
    }

    /// The working form. Times are completed to those nearest `now_us`: at most 6.3 days away.
    #[inline]
    #[must_use]
    pub fn unpack(entry: &Entry, now_us: u64) -> Self {
        let end = |side| End {
            next: entry.next(side),
            ts_val: turned(entry.0[word::TS_VAL], side) as u32,
            window: entry.window(side),
            scale: entry.scale(side),
        };
        Self {
            first_us: entry.first_us(now_us),
            last_us: entry.last_us(now_us),
            changed_us: entry.changed_us(now_us),
            rearmed_ms: (entry.0[word::LAST] & LOW_24) as u32,
            idle_ms: (entry.0[word::FIRST] & LOW_24) as u32,
            isn: entry.isn(),
            ends: [end(Side::A), end(Side::B)],
            state: entry.state(),
            marks: entry.marks(),
        }
    }
}

/// The word with the half of `side` below, the other's above; turned twice it is as it was.
#[inline]
fn turned(word: u64, side: Side) -> u64 {
    word.rotate_left(32 * (1 - side as u32))
}

#[inline]
fn halves(word: u64, side: Side) -> [u32; 2] {
    let turned = turned(word, side);
    [turned as u32, (turned >> 32) as u32]
}

#[inline]
fn joined([own, peer]: [u32; 2], side: Side) -> u64 {
    turned(u64::from(peer) << 32 | u64::from(own), side)
}

#[inline]
fn window_at(side: Side) -> usize {
    16 * (1 - side.index())
}

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
mod tests;
