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
        if record.has_flags(flags::RST) {
            *self = self.reset(record, sender, now_us);
        } else {
            if self.state() == State::TimeWait {
                *self = self.rearmed_by(record, sender, now_us);
            }
            let unseen_fin = self.acknowledges_unseen_fin(record, sender);
            self.learn(record, sender);
            if record.has_flags(flags::SYN) {
                self.handshake(record, sender, now_us);
            } else if record.has_flags(flags::ACK) {
                self.acknowledge(record, sender, now_us);
            }
            if unseen_fin {
                self.enter(State::TimeWait, now_us);
            }
            if record.has_flags(flags::FIN) {
                self.finish(record, sender, now_us);
            }
        }
        self.set_last(now_us);
    }

    /// Takes in the connection's own SYN, which came after other segments of it.
    pub fn adopt_syn(&mut self, record: &Record, sender: Side, now_us: u64) {
        if self.client().is_none() {
            self.learn_client(sender, record.seq);
            self.handshake(record, sender, self.last_us(now_us));
        }
    }

    #[inline(always)]
    fn learn_client(&mut self, client: Side, isn: u32) {
        self.set_isn(isn);
        self.mark(marks::CLIENT_KNOWN, true);
        self.mark(marks::CLIENT_IS_B, client == Side::B);
    }

    /// Sequence numbers, windows and timestamps that the segment shows of both ends.
    #[inline(always)]
    fn learn(&mut self, record: &Record, sender: Side) {
        let sent = record.seq.wrapping_add(record.sequence_len());
        let [own, peers] = self.nexts(sender);
        let is_ack = record.has_flags(flags::ACK);
        let own_moves = !self.seen(sender) | is_newer(sent, own);
        let peers_moves = is_ack & (!self.seen(sender.peer()) | is_newer(record.ack, peers));
        let own = if own_moves { sent } else { own };
        let peers = if peers_moves { record.ack } else { peers };
        self.set_nexts(sender, [own, peers]);
        if record.flags & flags::SYN == 0 {
            self.set_window(sender, record.window);
        }
        self.mark(marks::SEEN << sender.index(), true);
        self.learn_timestamps(record, sender);
    }

    /// TS.Recent of both ends: the sender's TSval, and what its TSecr says of the peer's. PAWS keeps
    /// them from going back (RFC 7323, 5.3), so only a newer value counts.
    #[inline(always)]
    fn learn_timestamps(&mut self, record: &Record, sender: Side) {
        let Some(ts_val) = record.timestamp() else {
            let negotiated = !record.has_mark(record_marks::OPTIONS_CUT);
            if negotiated && record.has_flags(flags::SYN | flags::ACK) {
                self.mark(marks::TIMESTAMPS | marks::TIMESTAMPS << 1, false);
            }
            return;
        };
        if self.state() >= State::FinWait1 && sender != self.closer() {
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
    fn handshake(&mut self, record: &Record, sender: Side, now_us: u64) {
        let shift = record.has_mark(record_marks::WINDOW_SCALE).then_some(record.window_scale);
        self.set_scale(sender, shift.map_or(0, |shift| shift.min(14)));
        if !record.has_flags(flags::ACK) {
            return;
        }
        // Both or neither scale their windows (RFC 7323, 2.2).
        if shift.is_none() {
            self.set_scale(sender.peer(), 0);
        }
        if self.client().is_none() {
            self.learn_client(sender.peer(), record.ack.wrapping_sub(1));
        }
        self.mark(marks::SYN_ACK_SEEN, true);
        if self.state() < State::SynReceived || self.began_at(now_us) {
            self.enter(State::SynReceived, now_us);
        }
    }

    /// What the acknowledgment field completes (RFC 9293, 3.10.7.4, fifth).
    #[inline(always)]
    fn acknowledge(&mut self, record: &Record, sender: Side, now_us: u64) {
        let from_closer = sender == self.closer();
        let covers_all = ahead(record.ack, self.next(sender.peer())) >= 0;
        match self.state() {
            // SYN-SENT, SYN-RECEIVED: anything after the SYNs means that data may flow.
            State::SynSent | State::SynReceived => self.enter(State::Established, now_us),
            // FIN-WAIT-1: "if the FIN segment is now acknowledged, enter FIN-WAIT-2".
            State::FinWait1 if !from_closer && covers_all => self.enter(State::FinWait2, now_us),
            // LAST-ACK: the closer acknowledged the other's FIN and is in TIME-WAIT by now.
            State::LastAck if from_closer && covers_all => self.enter(State::TimeWait, now_us),
            // CLOSING: "if the ACK acknowledges our FIN, enter TIME-WAIT".
            State::Closing if covers_all => self.enter(State::TimeWait, now_us),
            _ => {}
        }
    }

    /// Whether the closer acknowledges one number more than the other was seen to send: the other's FIN,
    /// lost or late on its way here. Since the first FIN both are followed closely enough to say so.
    #[inline(always)]
    fn acknowledges_unseen_fin(&self, record: &Record, sender: Side) -> bool {
        let half_closed = matches!(self.state(), State::FinWait1 | State::FinWait2);
        let other = sender.peer();
        half_closed
            && sender == self.closer()
            && self.seen(other)
            && record.has_flags(flags::ACK)
            && record.ack == self.next(other).wrapping_add(1)
    }

    /// What the FIN bit does (RFC 9293, 3.10.7.4, eighth).
    #[inline(always)]
    fn finish(&mut self, record: &Record, sender: Side, now_us: u64) {
        match self.state() {
            State::SynSent | State::SynReceived | State::Established => {
                if !self.began_at(now_us) {
                    let silence_ms = now_us.saturating_sub(self.last_us(now_us)) / 1000;
                    let idle_ms = silence_ms.min(u64::from(IDLE_UNKNOWN) - 1);
                    self.set_idle(idle_ms as u32);
                }
                self.mark(marks::CLOSER_IS_B, sender == Side::B);
                self.mark(marks::TIMESTAMP_FRESH, false);
                self.enter(State::FinWait1, now_us);
            }
            State::FinWait1 if sender != self.closer() => {
                // A FIN that acknowledges the closer's FIN came through `acknowledge` first.
                self.mark(marks::BOTH_CLOSED, true);
                self.freshen(record);
                self.enter(State::Closing, now_us);
            }
            State::FinWait2 if sender != self.closer() => {
                self.freshen(record);
                self.enter(State::LastAck, now_us);
            }
            _ => {}
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
        if sender == self.closer() && !self.is(marks::BOTH_CLOSED) {
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
            State::TimeWait | State::LastAck if sender == self.closer() => true,
            // TIME-WAIT believes only the exact number, and PAWS comes first.
            State::TimeWait => exact && !self.paws_rejects(record, sender),
            _ => {
                let peer = sender.peer();
                let slack = match self.scale(peer) {
                    SCALE_UNKNOWN => RST_SLACK,
                    scale => (u32::from(self.window(peer)) << scale).max(1),
                };
                !self.seen(sender) || ahead(record.seq, expected).unsigned_abs() <= slack
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
