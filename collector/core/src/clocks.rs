//! The timestamp clocks behind one address: the lines that the TSvals of its SYNs lie on.
//!
//! A clock is a line in time at 1000, 250 or 100 ticks a second. Kernels that offset timestamps for
//! each tuple (Linux of 2026, Windows) make a line of every tuple: a line tells of a clock only
//! once two ports were on it.

use arrayvec::ArrayVec;

use crate::flow::SECOND_US;
use crate::seq::ahead;

/// Lines kept; of more clocks the least recent are forgotten.
const LINES: usize = 8;

/// Ticks per second in use (RFC 7323, 5.4: 1 ms to 1 s per tick).
const RATES: [u64; 3] = [1000, 250, 100];

/// Between a SYN's timestamp and its being seen lies at most this time.
const DELAY_US: u64 = SECOND_US / 20;

/// A line not met for so long is forgotten.
const FORGOTTEN_US: u64 = 600 * SECOND_US;

/// A line counts as a clock in use for so long.
const IN_USE_US: u64 = 60 * SECOND_US;

#[derive(Clone, Copy, Debug)]
struct Line {
    at_us: u64,
    ts_val: u32,
    /// Which of [`RATES`] it may have, one bit each.
    rates: u8,
    port: u16,
    shared: bool,
}

/// The lines of one source address towards one server address: between the two, kernels of 2017 to
/// 2026 have one offset.
#[derive(Clone, Debug, Default)]
pub struct Clocks {
    lines: ArrayVec<Line, LINES>,
    /// TSval of the SYN before, if its line is shared.
    last: Option<u32>,
}

/// What a SYN's timestamp means beside those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// On no line that other ports share: nothing follows.
    Alone,
    /// On the same line as the SYN before, or ahead of it on another.
    GoesOn,
    /// On another line, and so many ticks behind the SYN before.
    Regressed(i32),
}

impl Clocks {
    /// Takes the TSval of the next new SYN.
    pub fn see(&mut self, ts_val: u32, port: u16, at_us: u64) -> Reading {
        self.lines.retain(|line| at_us.saturating_sub(line.at_us) < FORGOTTEN_US);
        let Some((line, rates)) = self.lines.iter_mut().find_map(|line| {
            let rates = line.rates_to(ts_val, at_us);
            (rates != 0).then_some((line, rates))
        }) else {
            self.begin(Line { at_us, ts_val, rates: 0b111, port, shared: false });
            return Reading::Alone;
        };
        (line.at_us, line.ts_val, line.rates) = (at_us, ts_val, rates);
        line.shared |= line.port != port;
        if !line.shared {
            return Reading::Alone;
        }
        let before = self.last.replace(ts_val);
        // A reordered SYN of one clock is no other clock.
        let most = i32::try_from(DELAY_US / 1000).unwrap_or(i32::MAX);
        match before {
            Some(before) if ahead(before, ts_val) > most => {
                Reading::Regressed(ahead(before, ts_val))
            }
            _ => Reading::GoesOn,
        }
    }

    /// Clocks in use at `now_us`; 0 if no line is shared.
    #[must_use]
    pub fn count(&self, now_us: u64) -> usize {
        let in_use = |line: &&Line| line.shared && now_us.saturating_sub(line.at_us) <= IN_USE_US;
        self.lines.iter().filter(in_use).count()
    }

    fn begin(&mut self, line: Line) {
        if self.lines.is_full() {
            let oldest = self.lines.iter().enumerate().min_by_key(|(_, line)| line.at_us);
            if let Some((oldest, _)) = oldest {
                self.lines.remove(oldest);
            }
        }
        let _ = self.lines.try_push(line);
    }
}

impl Line {
    /// At which rates the line leads to this TSval now.
    fn rates_to(&self, ts_val: u32, at_us: u64) -> u8 {
        let waited_us = at_us.saturating_sub(self.at_us);
        let moved = i64::from(ahead(ts_val, self.ts_val));
        let fits = |n: &usize| {
            let expected = waited_us * RATES[*n] / SECOND_US;
            // Quartz is within 0.1 %; a tick is lost in rounding.
            let slack = DELAY_US * RATES[*n] / SECOND_US + expected / 1000 + 1;
            let off = moved - i64::try_from(expected).unwrap_or(i64::MAX);
            self.rates & 1 << n != 0 && off.unsigned_abs() <= slack
        };
        (0..RATES.len()).filter(fits).map(|n| 1 << n).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SYNs of these (offset, rate) clocks in turn, 100 ms apart, each from a new port.
    fn readings(clocks: &[(u32, u64)], syns: u64) -> (Clocks, usize) {
        let (mut seen, mut regressed) = (Clocks::default(), 0);
        for n in 0..syns {
            let at_us = 1_700_000_000_000_000 + n * 100_000;
            let (offset, rate) = clocks[n as usize % clocks.len()];
            let ts_val = offset.wrapping_add((n * 100_000 * rate / SECOND_US) as u32);
            let reading = seen.see(ts_val, 1000 + n as u16, at_us);
            regressed += usize::from(matches!(reading, Reading::Regressed(_)));
        }
        (seen, regressed)
    }

    #[test]
    fn clocks_are_counted_whatever_their_rate() {
        let now_us = 1_700_000_000_000_000 + 30 * 100_000;
        for (clocks, count) in [
            (vec![(5000, 1000)], 1),
            (vec![(4_294_967_000, 1000)], 1),
            (vec![(5000, 1000), (900_000, 250)], 2),
            (vec![(5000, 1000), (900_000, 1000), (70_000_000, 100)], 3),
        ] {
            let (seen, regressed) = readings(&clocks, 30);
            assert_eq!(seen.count(now_us), count, "{clocks:?}");
            assert_eq!(regressed > 0, count > 1, "{clocks:?}");
        }
    }

    #[test]
    fn an_offset_for_each_tuple_is_no_clock() {
        let mut seen = Clocks::default();
        for n in 0..100u32 {
            let ts_val = n.wrapping_mul(2_654_435_761);
            let at_us = 1_700_000_000_000_000 + u64::from(n) * 100_000;
            assert_eq!(seen.see(ts_val, 1000 + n as u16, at_us), Reading::Alone);
        }
        assert_eq!(seen.count(1_700_000_000_000_000), 0);
    }
}
