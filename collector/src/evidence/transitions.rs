//! Which segments of a file are worth remembering: those that open and close connections, and all others
//! of tuples in transition, much as the program selects them in live capture.

use xdpwatch_prog::record::{Record, flags};
use xdpwatch_prog::select::{FIN_WINDOW_NS, SYN_WINDOW_NS, is_control};

/// Slots, a byte each: so few that they stay in the second cache level beside all else, where each is
/// asked at random. Tuples that share one are kept longer than they need be.
const SLOTS: usize = 1 << 14;

/// The bits of a slot for one kind of transition: one for each period at whose end some are over.
#[derive(Clone, Copy, Debug)]
struct Kind {
    lowest: u64,
    periods: u64,
    /// A period's length, nanoseconds: all periods but the one under way are the window.
    len_ns: u64,
    /// The period under way, counted from the epoch.
    now: u64,
}

impl Kind {
    const fn new(window_ns: u64, lowest: u64, periods: u64) -> Self {
        Self { lowest, periods, len_ns: window_ns.div_ceil(periods - 1), now: 0 }
    }

    /// The bit of a transition that is over with this period.
    fn bit(&self, period: u64) -> u8 {
        1 << (self.lowest + period % self.periods)
    }

    /// The bit of one that begins now.
    fn begins(&self) -> u8 {
        self.bit(self.now + self.periods - 1)
    }

    /// When the period under way ends.
    fn end_ns(&self) -> u64 {
        (self.now + 1).saturating_mul(self.len_ns)
    }

    /// Goes on to the period of this time; the bits of what is over by then.
    fn pass(&mut self, at_ns: u64) -> u8 {
        let before = std::mem::replace(&mut self.now, at_ns / self.len_ns);
        let over = (before..self.now).take(self.periods as usize);
        over.fold(0, |bits, period| bits | self.bit(period))
    }
}

/// Which tuples are in transition, by hash.
#[derive(Debug)]
pub struct Transitions {
    slots: Box<[u8; SLOTS]>,
    opening: Kind,
    closing: Kind,
    /// When the next period of either ends.
    end_ns: u64,
    /// What a segment adds to its slot, by the lowest two bits of its flags. Looked up, since flags come
    /// in no order and a guess would often be wrong.
    marks: [u8; 4],
}

impl Transitions {
    /// None is.
    pub fn new() -> Self {
        let slots = vec![0; SLOTS].into_boxed_slice();
        Self {
            slots: slots.try_into().unwrap_or_else(|_| Box::new([0; SLOTS])),
            opening: Kind::new(SYN_WINDOW_NS, 0, 2),
            closing: Kind::new(FIN_WINDOW_NS, 2, 6),
            end_ns: 0,
            marks: [0; 4],
        }
    }

    /// Whether the segment is needed; notes until when its tuple is in transition. Time goes forward only.
    #[inline]
    pub fn take(&mut self, record: &Record, hash: u64) -> bool {
        if record.at_ns >= self.end_ns {
            self.pass(record.at_ns);
        }
        let slot = &mut self.slots[(hash >> (u64::BITS - SLOTS.ilog2())) as usize];
        *slot |= self.marks[usize::from(record.flags & (flags::FIN | flags::SYN))];
        is_control(record.flags) | (*slot != 0)
    }

    /// Forgets what is over.
    #[cold]
    fn pass(&mut self, at_ns: u64) {
        let over = self.opening.pass(at_ns) | self.closing.pass(at_ns);
        self.slots.iter_mut().for_each(|slot| *slot &= !over);
        self.end_ns = self.opening.end_ns().min(self.closing.end_ns());
        let (opens, closes) = (self.opening.begins(), self.closing.begins());
        // By FIN, then SYN: a segment with both closes.
        self.marks = [0, closes, opens, closes];
    }
}
