//! The ports that one source uses towards one service, counted one by one: which are busy, which wait
//! in TIME-WAIT, how many come and go, and when they will run out.
//!
//! 192 KiB for each pair, so only heavy pairs have one. Time runs in ticks of a quarter of a second:
//! that much a port may be counted too long.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use crate::flow::SECOND_US;
use crate::host::linux::TIME_WAIT_US;

/// One tick.
pub const TICK_US: u64 = SECOND_US / 4;

/// Ticks after which a word's time would come round again.
const TICKS: u64 = 1 << 14;

/// How long either holder's TIME-WAIT keeps a tuple from being used.
const WAIT_TICKS: u64 = TIME_WAIT_US / TICK_US;

/// A SYN without an answer occupies its port for about as long as its sender repeats it.
const PENDING_TICKS: u64 = WAIT_TICKS;

/// A connection whose end was not seen is forgotten after this time without a step of it.
const BUSY_TICKS: u64 = 3600 * SECOND_US / TICK_US;

/// Arrivals and departures are averaged over as many seconds.
const RATE_S: usize = 10;

/// The forecast sees as far as the waits that end are known.
const HORIZON_TICKS: u64 = WAIT_TICKS;

/// What a port is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Nothing.
    Free = 0,
    /// A SYN was sent.
    Pending = 1,
    /// A connection.
    Busy = 2,
    /// Either end holds TIME-WAIT.
    Waiting = 3,
}

const USES: [Use; 4] = [Use::Free, Use::Pending, Use::Busy, Use::Waiting];

/// Ports fall into classes that begin here.
const CLASSES: [u16; 5] = [0, 1024, 32768, 49152, 61000];

/// The ranges that ports are commonly taken from, narrowest first, with the classes they are made of:
/// IANA and Windows; Linux's `ip_local_port_range`; what balancers and tuned clients use; everything.
const RANGES: [((u16, u16), Range<usize>); 4] =
    [((49152, 65535), 3..5), ((32768, 60999), 2..4), ((1024, 65535), 1..5), ((1, 65535), 0..5)];

/// Counts within one second.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    /// New connections.
    opened: u32,
    /// Ports that became free at once, without TIME-WAIT.
    freed: u32,
    /// Connections that left a TIME-WAIT.
    waited: u32,
}

/// One pair's ports.
#[derive(Debug)]
pub struct Ports {
    /// Per port: its use in the upper two bits, below that the tick it ends at.
    words: Vec<u16>,
    /// Ports whose use ends at a tick.
    ends: Vec<u32>,
    counts: [u32; 4],
    /// Connections that were open before counting began and are not known by their port.
    unnamed: u32,
    unnamed_until: u64,
    tick: u64,
    seconds: [Second; RATE_S],
    second: u64,
    first_second: u64,
    classes: [u32; CLASSES.len()],
}

/// What is known of a pair's ports at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pressure {
    /// Ports that can't be taken for a new connection.
    pub held: u32,
    /// Of these, with a connection or an attempt at one.
    pub busy: u32,
    /// Of these, in TIME-WAIT at either end.
    pub waiting: u32,
    /// The range they are taken from, both included.
    pub range: (u16, u16),
    /// New connections per second.
    pub arrivals_per_s: u32,
    /// Until no port is left, microseconds, if arrivals go on; `None` if that is not to be seen.
    pub exhausted_in_us: Option<u64>,
    /// Sources that would hold the observed rate at 70 % of their range each.
    pub sources_needed: u32,
}

impl Pressure {
    /// Ports in the range.
    #[must_use]
    pub fn size(&self) -> u32 {
        u32::from(self.range.1 - self.range.0) + 1
    }

    /// Held ports in percent of the range.
    #[must_use]
    pub fn percent(&self) -> u32 {
        100 * self.held / self.size()
    }
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            words: vec![0; 1 << 16],
            ends: vec![0; TICKS as usize],
            counts: [0; 4],
            unnamed: 0,
            unnamed_until: 0,
            tick: 0,
            seconds: [Second::default(); RATE_S],
            second: 0,
            first_second: 0,
            classes: [0; CLASSES.len()],
        }
    }
}

impl Ports {
    /// Begins anew at `now_us`, with as many connections open whose ports are not known.
    pub fn begin(&mut self, unnamed: u32, now_us: u64) {
        self.words.fill(0);
        self.ends.fill(0);
        self.counts = [0; 4];
        self.unnamed = unnamed;
        self.tick = now_us / TICK_US;
        self.unnamed_until = self.tick + BUSY_TICKS;
        self.seconds = [Second::default(); RATE_S];
        self.second = now_us / SECOND_US;
        self.first_second = self.second;
        self.classes = [0; CLASSES.len()];
    }

    /// A new connection, or an attempt at one, takes a port.
    pub fn open(&mut self, port: u16, busy: bool, now_us: u64) {
        self.pass_time(now_us);
        self.now().opened += 1;
        let class = CLASSES.iter().rposition(|first| port >= *first).unwrap_or(0);
        self.classes[class] += 1;
        if self.classes[class] >= 1 << 20 {
            self.classes.iter_mut().for_each(|count| *count /= 2);
        }
        self.set(port, if busy { Use::Busy } else { Use::Pending });
    }

    /// A connection is used, or its SYN repeated.
    pub fn keep(&mut self, port: u16, busy: bool, now_us: u64) {
        self.pass_time(now_us);
        self.name(port);
        self.set(port, if busy { Use::Busy } else { Use::Pending });
    }

    /// A connection ends: in TIME-WAIT, or at once.
    pub fn end(&mut self, port: u16, waits: bool, now_us: u64) {
        self.pass_time(now_us);
        self.name(port);
        if waits {
            let anew = u32::from(self.what(port) != Use::Waiting);
            self.now().waited += anew;
            self.set(port, Use::Waiting);
        } else if self.what(port) != Use::Free {
            self.now().freed += 1;
            self.set(port, Use::Free);
        }
    }

    /// What this port is used for.
    #[must_use]
    pub fn what(&self, port: u16) -> Use {
        USES[usize::from(self.words[usize::from(port)] >> 14)]
    }

    /// Ports held.
    #[must_use]
    pub fn held(&self) -> u32 {
        self.unnamed + self.counts[1] + self.counts[2] + self.counts[3]
    }

    /// Lets uses end that are over by `now_us`.
    pub fn pass_time(&mut self, now_us: u64) {
        let tick = now_us / TICK_US;
        if tick >= self.unnamed_until || tick.saturating_sub(self.tick) >= TICKS {
            self.unnamed = 0;
        }
        if tick.saturating_sub(self.tick) >= TICKS {
            self.words.fill(0);
            self.ends.fill(0);
            self.counts = [0; 4];
            self.tick = tick;
        }
        while self.tick < tick {
            self.tick += 1;
            let slot = (self.tick % TICKS) as usize;
            if self.ends[slot] > 0 {
                self.ends[slot] = 0;
                self.end_uses(slot as u16);
            }
        }
        let second = now_us / SECOND_US;
        if second > self.second {
            let passed = (second - self.second).min(RATE_S as u64);
            (0..passed).for_each(|n| {
                self.seconds[((second - n) % RATE_S as u64) as usize] = Second::default();
            });
            self.second = second;
        }
    }

    /// Everything at this moment; `range` if it is configured.
    #[must_use]
    pub fn pressure(&self, range: Option<(u16, u16)>) -> Pressure {
        let range = range.unwrap_or_else(|| self.range());
        let busy = self.unnamed + self.counts[1] + self.counts[2];
        let rates = self.rates();
        let mut pressure = Pressure {
            held: self.held(),
            busy,
            waiting: self.counts[3],
            range,
            arrivals_per_s: rates.opened as u32,
            exhausted_in_us: None,
            sources_needed: 1,
        };
        pressure.exhausted_in_us = self.exhausted_in_us(pressure.size(), &rates);
        // Little's law: what is held in the long run is the rate times the time it is held for.
        let held = f64::from(busy) + rates.waited * (WAIT_TICKS as f64 * TICK_US as f64 / 1e6);
        let usable = 0.7 * f64::from(pressure.size());
        pressure.sources_needed = (held.max(f64::from(pressure.held)) / usable) as u32 + 1;
        pressure
    }

    fn now(&mut self) -> &mut Second {
        &mut self.seconds[(self.second % RATE_S as u64) as usize]
    }

    /// A port of which nothing was known is one of the connections open before.
    fn name(&mut self, port: u16) {
        if self.what(port) == Use::Free {
            self.unnamed = self.unnamed.saturating_sub(1);
        }
    }

    fn set(&mut self, port: u16, to: Use) {
        let word = self.words[usize::from(port)];
        if word != 0 {
            self.counts[usize::from(word >> 14)] -= 1;
            let end = &mut self.ends[usize::from(word & 0x3fff)];
            *end = end.saturating_sub(1);
        }
        let lasts = match to {
            Use::Free => {
                self.words[usize::from(port)] = 0;
                return;
            }
            Use::Pending => PENDING_TICKS,
            Use::Busy => BUSY_TICKS,
            Use::Waiting => WAIT_TICKS,
        };
        let slot = ((self.tick + lasts) % TICKS) as u16;
        self.ends[usize::from(slot)] += 1;
        self.counts[to as usize] += 1;
        self.words[usize::from(port)] = (to as u16) << 14 | slot;
    }

    fn end_uses(&mut self, slot: u16) {
        for word in &mut self.words {
            if *word != 0 && *word & 0x3fff == slot {
                self.counts[usize::from(*word >> 14)] -= 1;
                *word = 0;
            }
        }
    }

    /// The narrowest common range outside of which no more than one in a hundred connections came.
    fn range(&self) -> (u16, u16) {
        let sum = |classes: &[u32]| classes.iter().map(|count| u64::from(*count)).sum::<u64>();
        let all = sum(&self.classes);
        let fits = |within: &Range<usize>| (all - sum(&self.classes[within.clone()])) * 100 <= all;
        let found = RANGES.iter().find(|(_, within)| fits(within));
        found.map_or((1, u16::MAX), |(range, _)| *range)
    }

    /// Per second, over the last whole seconds.
    fn rates(&self) -> Rates {
        let whole = (self.second - self.first_second).clamp(1, RATE_S as u64 - 1);
        let mut rates = Rates::default();
        for ago in 1..=whole {
            let second =
                self.seconds[((self.second + RATE_S as u64 - ago) % RATE_S as u64) as usize];
            rates.opened += f64::from(second.opened) / whole as f64;
            rates.freed += f64::from(second.freed) / whole as f64;
            rates.waited += f64::from(second.waited) / whole as f64;
        }
        rates
    }

    /// Plays the waits that end against the ports that go: when none of `size` is left.
    fn exhausted_in_us(&self, size: u32, rates: &Rates) -> Option<u64> {
        let per_tick = (rates.opened - rates.freed) * TICK_US as f64 / SECOND_US as f64;
        let mut held = f64::from(self.held());
        for ticks in 1..=HORIZON_TICKS {
            held += per_tick - f64::from(self.ends[((self.tick + ticks) % TICKS) as usize]);
            if held >= f64::from(size) {
                return Some(ticks * TICK_US);
            }
        }
        None
    }
}

/// Means over the last seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Rates {
    opened: f64,
    freed: f64,
    waited: f64,
}
