//! What one segment does to a connection: the TCP state machine, seen from the wire (RFC 9293, 3.10.7).
//!
//! It works on the words that lie in the table, in registers: what is rare takes them by value, so that
//! they need not lie in memory for its sake. A SYN that would open a *new* connection on the tuple is
//! not decided here; that is a contest.

use xdpwatch_prog::record::{Record, flags, marks as record_marks};

use crate::entry::Entry;
use crate::flow::{Flow, IDLE_UNKNOWN, SCALE_UNKNOWN, State, marks};
use crate::seq::ahead;
use crate::tuple::Side;

/// Numbers further ahead than this are of another incarnation and are not learned.
const PLAUSIBLE_AHEAD: u32 = 1 << 30;

/// A RST this far from the expected sequence number is not believed where the window is unknown.
const RST_SLACK: u32 = 1 << 20;

impl Flow {
    /// Takes the next segment of this connection.
    pub fn advance(&mut self, record: &Record, sender: Side, now_us: u64) {
        let mut entry = self.pack();
        entry.advance(record, sender, now_us);
        *self = Self::unpack(&entry, now_us);
    }
}

impl Entry {
    /// A connection first seen at this segment: at its SYN, or in mid-stream.
    #[inline(never)]
    #[must_use]
    pub fn open(record: &Record, sender: Side, now_us: u64) -> Self {
        if record.is_pure_syn() && !record.has_flags(flags::FIN) {
            return Self::open_at_syn(record, sender, now_us);
        }
        Self::open_anywhere(record, sender, now_us)
    }

    /// What [`Self::open_anywhere`] comes to at a plain SYN, the first segment of most connections.
    #[inline(always)]
    fn open_at_syn(record: &Record, sender: Side, now_us: u64) -> Self {
        let mut entry = Self::new(State::SynSent, now_us);
        let [client_is_b, timestamps] = match (sender, record.timestamp()) {
            (Side::A, None) => [0, 0],
            (Side::A, Some(_)) => [0, marks::TIMESTAMPS],
            (Side::B, None) => [marks::CLIENT_IS_B, 0],
            (Side::B, Some(_)) => [marks::CLIENT_IS_B, marks::TIMESTAMPS << 1],
        };
        let seen = marks::SEEN << sender.index();
        entry.mark(marks::CLIENT_KNOWN | client_is_b | seen | timestamps, true);
        entry.set_isn(record.seq);
        entry.set_nexts(sender, [record.seq.wrapping_add(record.sequence_len()), 0]);
        entry.set_ts_vals(sender, [record.timestamp().unwrap_or(0), 0]);
        let scaled = record.has_mark(record_marks::WINDOW_SCALE);
        entry.set_scale(sender, if scaled { record.window_scale.min(14) } else { 0 });
        entry
    }

    fn open_anywhere(record: &Record, sender: Side, now_us: u64) -> Self {
        let is_syn = record.is_pure_syn();
        let state = if is_syn { State::SynSent } else { State::Established };
        let mut entry = Self::new(state, now_us);
        if is_syn {
            entry.learn_client(sender, record.seq);
        }
        entry.advance(record, sender, now_us);
        entry
    }

    /// Takes the next segment of this connection.
    #[inline(always)]
    pub fn advance(&mut self, record: &Record, sender: Side, now_us: u64) {
        let before = self.state();
        if record.has_flags(flags::RST) {
            *self = self.reset(record, sender, now_us);
            return self.set_last(now_us);
        }
        if before == State::TimeWait {
            *self = self.rearmed_by(record, sender, now_us);
        }
        let unseen_fin = self.acknowledges_unseen_fin(before, record, sender);
        let acknowledges_all = self.learn(before, record, sender);
        let mut state = before;
        if record.has_flags(flags::SYN) {
            state = self.handshake(state, record, sender, now_us);
        } else if record.has_flags(flags::ACK) {
            state = self.acknowledge(state, acknowledges_all, sender);
        }
        if unseen_fin {
            state = State::TimeWait;
        }
        if record.has_flags(flags::FIN) {
            state = self.finish(state, record, sender, now_us);
        }
        if state != before {
            self.enter(state, now_us);
        }
        self.set_last(now_us);
    }

    /// Takes in the connection's own SYN, which came after other segments of it.
    pub fn adopt_syn(&mut self, record: &Record, sender: Side, now_us: u64) {
        if self.marks().client().is_none() {
            self.learn_client(sender, record.seq);
            let (before, then_us) = (self.state(), self.last_us(now_us));
            let state = self.handshake(before, record, sender, then_us);
            if state != before {
                self.enter(state, then_us);
            }
        }
    }

    #[inline(always)]
    fn learn_client(&mut self, client: Side, isn: u32) {
        self.set_isn(isn);
        self.mark(marks::CLIENT_KNOWN, true);
        self.mark(marks::CLIENT_IS_B, client == Side::B);
    }

    /// Sequence numbers, windows and timestamps that the segment shows of both ends. Whether it
    /// acknowledges all that the peer was seen to send.
    #[inline(always)]
    fn learn(&mut self, state: State, record: &Record, sender: Side) -> bool {
        let sent = record.seq.wrapping_add(record.sequence_len());
        let [own, peers] = self.nexts(sender);
        let is_ack = record.has_flags(flags::ACK);
        let own_moves = !self.marks().seen(sender) | is_newer(sent, own);
        let peers_moves =
            is_ack & (!self.marks().seen(sender.peer()) | is_newer(record.ack, peers));
        let own = if own_moves { sent } else { own };
        let peers = if peers_moves { record.ack } else { peers };
        self.set_nexts(sender, [own, peers]);
        if record.flags & flags::SYN == 0 {
            self.set_window(sender, record.window);
        }
        self.mark(marks::SEEN << sender.index(), true);
        self.learn_timestamps(state, record, sender);
        ahead(record.ack, peers) >= 0
    }

    /// TS.Recent of both ends: the sender's TSval, and what its TSecr says of the peer's. PAWS keeps
    /// them from going back (RFC 7323, 5.3), so only a newer value counts.
    #[inline(always)]
    fn learn_timestamps(&mut self, state: State, record: &Record, sender: Side) {
        let Some(ts_val) = record.timestamp() else {
            let negotiated = !record.has_mark(record_marks::OPTIONS_CUT);
            if negotiated && record.has_flags(flags::SYN | flags::ACK) {
                self.mark(marks::TIMESTAMPS | marks::TIMESTAMPS << 1, false);
            }
            return;
        };
        if state >= State::FinWait1 && sender != self.marks().closer() {
            self.mark(marks::TIMESTAMP_FRESH, true);
        }
        let [of_own, of_peer] = [sender, sender.peer()].map(|s| marks::TIMESTAMPS << s.index());
        let [own, peers] = self.ts_vals(sender);
        let echoes = record.has_flags(flags::ACK) & (record.ts_ecr != 0);
        let own_moves = !self.is(of_own) | (ahead(ts_val, own) > 0);
        let peers_moves = echoes & (!self.is(of_peer) | (ahead(record.ts_ecr, peers) > 0));
        let own = if own_moves { ts_val } else { own };
        let peers = if peers_moves { record.ts_ecr } else { peers };
        self.set_ts_vals(sender, [own, peers]);
        self.mark(of_own | if echoes { of_peer } else { 0 }, true);
    }

    /// SYN and SYN/ACK: who is client, the window shifts, the first states.
    #[inline(always)]
    fn handshake(&mut self, state: State, record: &Record, sender: Side, now_us: u64) -> State {
        let shift = record.has_mark(record_marks::WINDOW_SCALE).then_some(record.window_scale);
        self.set_scale(sender, shift.map_or(0, |shift| shift.min(14)));
        if !record.has_flags(flags::ACK) {
            return state;
        }
        // Both or neither scale their windows (RFC 7323, 2.2).
        if shift.is_none() {
            self.set_scale(sender.peer(), 0);
        }
        if self.marks().client().is_none() {
            self.learn_client(sender.peer(), record.ack.wrapping_sub(1));
        }
        self.mark(marks::SYN_ACK_SEEN, true);
        let first = state < State::SynReceived || self.began_at(now_us);
        if first { State::SynReceived } else { state }
    }

    /// What the acknowledgment field completes (RFC 9293, 3.10.7.4, fifth).
    #[inline(always)]
    fn acknowledge(&self, state: State, all: bool, sender: Side) -> State {
        let from_closer = sender == self.marks().closer();
        match state {
            // SYN-SENT, SYN-RECEIVED: anything after the SYNs means that data may flow.
            State::SynSent | State::SynReceived => State::Established,
            // FIN-WAIT-1: "if the FIN segment is now acknowledged, enter FIN-WAIT-2".
            State::FinWait1 if !from_closer && all => State::FinWait2,
            // LAST-ACK: the closer acknowledged the other's FIN and is in TIME-WAIT by now.
            State::LastAck if from_closer && all => State::TimeWait,
            // CLOSING: "if the ACK acknowledges our FIN, enter TIME-WAIT".
            State::Closing if all => State::TimeWait,
            _ => state,
        }
    }

    /// Whether the closer acknowledges one number more than the other was seen to send: the other's FIN,
    /// lost or late on its way here. Since the first FIN both are followed closely enough to say so.
    #[inline(always)]
    fn acknowledges_unseen_fin(&self, state: State, record: &Record, sender: Side) -> bool {
        let half_closed = matches!(state, State::FinWait1 | State::FinWait2);
        let other = sender.peer();
        half_closed
            && sender == self.marks().closer()
            && self.marks().seen(other)
            && record.has_flags(flags::ACK)
            && record.ack == self.next(other).wrapping_add(1)
    }

    /// What the FIN bit does (RFC 9293, 3.10.7.4, eighth).
    #[inline(always)]
    fn finish(&mut self, state: State, record: &Record, sender: Side, now_us: u64) -> State {
        match state {
            State::SynSent | State::SynReceived | State::Established => {
                if !self.began_at(now_us) {
                    let idle_ms = (self.silent_us(now_us) / 1000).min(u64::from(IDLE_UNKNOWN) - 1);
                    self.set_idle(idle_ms as u32);
                }
                self.mark(marks::CLOSER_IS_B, sender == Side::B);
                self.mark(marks::TIMESTAMP_FRESH, false);
                State::FinWait1
            }
            State::FinWait1 if sender != self.marks().closer() => {
                // A FIN that acknowledges the closer's FIN came through `acknowledge` first.
                self.mark(marks::BOTH_CLOSED, true);
                self.freshen(record);
                State::Closing
            }
            State::FinWait2 if sender != self.marks().closer() => {
                self.freshen(record);
                State::LastAck
            }
            _ => state,
        }
    }

    #[inline(always)]
    fn freshen(&mut self, record: &Record) {
        if record.timestamp().is_some() {
            self.mark(marks::TIMESTAMP_FRESH, true);
        }
    }

    /// Which segments to a holder in TIME-WAIT set its timer anew (`tcp_timewait_state_process`).
    #[inline(never)]
    fn rearmed_by(mut self, record: &Record, sender: Side, now_us: u64) -> Self {
        if sender == self.marks().closer() && !self.is(marks::BOTH_CLOSED) {
            return self;
        }
        let paws = self.paws_rejects(record, sender);
        if paws || record.has_flags(flags::ACK) {
            self.rearm(now_us);
        }
        // Only answers to empty segments are limited (`tcp_oow_rate_limited`): data and FIN are not
        // likely part of a loop of ACKs, and leave the limiter as it is.
        let expected = record.seq == self.next(sender);
        if record.sequence_len() == 0 {
            self.mark(marks::LIMITED, paws || !expected);
        }
        self
    }

    /// Whether the peer of `sender` takes the segment for an old one (RFC 7323, 5.3).
    fn paws_rejects(&self, record: &Record, sender: Side) -> bool {
        match (record.timestamp(), self.timestamp(sender)) {
            (Some(ts_val), Some(recent)) => recent != 0 && ahead(recent, ts_val) > 0,
            _ => false,
        }
    }

    /// A RST: from an end that holds nothing any more, or to one that may believe it.
    #[inline(never)]
    fn reset(mut self, record: &Record, sender: Side, now_us: u64) -> Self {
        let expected = self.next(sender);
        let exact = record.seq == expected;
        let believed = match self.state() {
            // The holder itself says that it holds nothing.
            State::TimeWait | State::LastAck if sender == self.marks().closer() => true,
            // TIME-WAIT believes only the exact number, and PAWS comes first.
            State::TimeWait => exact && !self.paws_rejects(record, sender),
            _ => {
                let peer = sender.peer();
                let slack = match self.scale(peer) {
                    SCALE_UNKNOWN => RST_SLACK,
                    scale => (u32::from(self.window(peer)) << scale).max(1),
                };
                !self.marks().seen(sender) || ahead(record.seq, expected).unsigned_abs() <= slack
            }
        };
        if believed && self.state() != State::Reset {
            self.enter(State::Reset, now_us);
        }
        self
    }
}

/// Whether `new` moves a counter of this incarnation on.
#[inline]
fn is_newer(new: u32, known: u32) -> bool {
    // From 1 to the limit, in one comparison.
    new.wrapping_sub(known).wrapping_sub(1) < PLAUSIBLE_AHEAD - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_plain_syn_opens_as_any_segment_does(
            seq: u32, ts_val: u32, ts_ecr: u32, payload_len in 0u32..2000, window: u16,
            window_scale: u8, some_marks: u16, other_flags: u8, is_b: bool,
        ) {
            let flags = other_flags & !(flags::ACK | flags::RST | flags::FIN) | flags::SYN;
            let record = Record {
                seq, ts_val, ts_ecr, payload_len, window, window_scale, flags, marks: some_marks,
                ..Record::default()
            };
            let (side, now_us) = (Side::from_bit(is_b), 1_700_000_000_000_000);
            let expected = Entry::open_anywhere(&record, side, now_us);
            prop_assert_eq!(Entry::open(&record, side, now_us), expected);
        }
    }
}
