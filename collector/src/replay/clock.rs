//! The time of a file's packets: it never goes back, and does not follow a packet that alone is hours
//! ahead. Such a one waits for the next: a damaged time is nobody else's.

use xdpwatch_prog::record::Record;
use xdpwatch_prog::wire::{self, Link, Parsed};

use crate::capture::file::Packet;
use crate::evidence::history::History;
use crate::skips::Skips;

/// A step forward by more than this is doubted.
const STEP_NS: u64 = 3600 * 1_000_000_000;

/// A packet whose time is doubted.
#[derive(Debug)]
struct Doubted {
    link: Link,
    at_ns: u64,
    frame_len: u32,
    bytes: Vec<u8>,
}

/// Gives packets their times, and parses them.
#[derive(Debug, Default)]
pub struct Clock {
    /// Time of the latest packet, nanoseconds; also of packets that are no records.
    pub latest_ns: u64,
    /// Packets whose time was before an earlier packet's.
    pub backwards: u64,
    /// Packets whose time was ahead of those around them by hours.
    pub damaged: u64,
    /// Packets that are no records.
    pub skips: Skips,
    doubted: Option<Doubted>,
}

impl Clock {
    /// Takes the next packet: appends its record, if it is one, at a time that is never before an earlier
    /// packet's; or the one's before it and its own later.
    pub fn take(
        &mut self,
        packet: &Packet<'_>,
        history: Option<&mut History>,
        records: &mut Vec<Record>,
    ) {
        let mut history = history;
        if self.doubted.is_some() {
            self.settle(Some(packet.at_ns), history.as_deref_mut(), records);
        }
        if packet.at_ns > self.latest_ns.saturating_add(STEP_NS) {
            let Packet { link, at_ns, frame_len, bytes } = *packet;
            self.doubted = Some(Doubted { link, at_ns, frame_len, bytes: bytes.to_vec() });
        } else {
            records.extend(self.record(packet, history));
        }
    }

    /// Appends the packet whose time is doubted, if there is one: `next_ns`, the time of the one after
    /// it, tells whether it was damaged. Without one it was, unless it is the only packet.
    pub fn settle(
        &mut self,
        next_ns: Option<u64>,
        history: Option<&mut History>,
        records: &mut Vec<Record>,
    ) {
        let Some(doubted) = self.doubted.take() else { return };
        let confirmed = match next_ns {
            Some(next_ns) => next_ns.saturating_add(STEP_NS) >= doubted.at_ns,
            None => self.latest_ns == 0,
        };
        self.damaged += u64::from(!confirmed);
        // The first packet has no earlier one to take the time of.
        let before_ns = if self.latest_ns == 0 { next_ns.unwrap_or(0) } else { self.latest_ns };
        let Doubted { link, at_ns, frame_len, bytes } = doubted;
        let at_ns = if confirmed { at_ns } else { before_ns };
        records.extend(self.record(&Packet { link, at_ns, frame_len, bytes: &bytes }, history));
    }

    fn record(&mut self, packet: &Packet<'_>, history: Option<&mut History>) -> Option<Record> {
        self.backwards += u64::from(packet.at_ns < self.latest_ns);
        self.latest_ns = self.latest_ns.max(packet.at_ns);
        let parsed = wire::parse(packet.bytes, packet.frame_len, self.latest_ns, packet.link);
        let Parsed { record, header_end } = parsed.map_err(|skip| self.skips.count(skip)).ok()?;
        if let Some(history) = history {
            let headers = &packet.bytes[..header_end.min(packet.bytes.len())];
            history.put(&record, packet.link, headers);
        }
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = STEP_NS;
    const BEGIN: u64 = 500_000 * HOUR;

    /// The clock after packets at these times, each of them no record.
    fn after(times: &[u64]) -> Clock {
        let mut clock = Clock::default();
        for at_ns in times {
            let packet =
                Packet { link: Link::Ethernet, at_ns: *at_ns, frame_len: 60, bytes: &[0; 60] };
            clock.take(&packet, None, &mut Vec::new());
        }
        clock.settle(None, None, &mut Vec::new());
        clock
    }

    #[test]
    fn a_time_that_nobody_shares_is_damaged() {
        for (times, latest_ns, damaged) in [
            (&[BEGIN][..], BEGIN, 0),
            (&[BEGIN, BEGIN + 1, BEGIN + 2], BEGIN + 2, 0),
            (&[BEGIN, BEGIN + 9 * HOUR, BEGIN + 1], BEGIN + 1, 1),
            (&[BEGIN, BEGIN + 9 * HOUR, BEGIN + 9 * HOUR + 1], BEGIN + 9 * HOUR + 1, 0),
            (&[BEGIN, BEGIN + 9 * HOUR, BEGIN + 99 * HOUR, BEGIN + 1], BEGIN + 9 * HOUR, 1),
            // The first, and the last.
            (&[BEGIN + 9 * HOUR, BEGIN, BEGIN + 1], BEGIN + 1, 1),
            (&[BEGIN, BEGIN + 1, BEGIN + 9 * HOUR], BEGIN + 1, 1),
            (&[0, BEGIN, BEGIN + 1], BEGIN + 1, 0),
        ] {
            let clock = after(times);
            assert_eq!((clock.latest_ns, clock.damaged), (latest_ns, damaged), "{times:?}");
        }
    }
}
