//! What the two ends say in a contest: the holder's answers to the SYN, and what the initiator goes on with.

use xdpwatch_prog::record::{Record, flags};

use super::{Answer, COPY_US, Contest, Event};
use crate::flow::SECOND_US;
use crate::host::Holder;
use crate::seq::ahead;

/// An ACK this long after the last SYN no longer answers it.
const ANSWER_US: u64 = 3 * SECOND_US;

/// Data that one end may have sent unseen before its peer's first segment shows it.
const UNSEEN_BYTES: i32 = 1 << 20;

impl Contest {
    /// Whether the record answers this SYN with a SYN/ACK.
    #[must_use]
    pub fn is_accepted_by(&self, record: &Record) -> bool {
        record.has_flags(flags::SYN | flags::ACK) && record.ack == self.attempt.isn.wrapping_add(1)
    }

    /// The SYN/ACK: how far its ISN is ahead of the holder's old SND.NXT tells whether it recycled.
    pub fn accepted(&mut self, record: &Record, now_us: u64) -> Event {
        let old_next = self.previous.map(|flow| flow.end(self.initiator.peer()).next);
        self.syn_ack_ahead = old_next.map(|next| ahead(record.seq, next));
        self.note_answer(Answer::SynAck, now_us);
        Event::Connected
    }

    /// The connection came about though its SYN/ACK was not seen.
    pub fn connected_unseen(&mut self, now_us: u64) -> Event {
        self.last_us = now_us;
        Event::Connected
    }

    /// Takes a segment of the holder that is no SYN/ACK for this SYN. `None`: not about this SYN.
    pub fn hear_holder(&mut self, record: &Record, now_us: u64) -> Option<Event> {
        if record.has_flags(flags::RST) {
            let about_this = record.ack == self.attempt.isn.wrapping_add(1);
            if !record.has_flags(flags::ACK) || !about_this || self.is_copy(now_us) {
                return None;
            }
            self.resets += 1;
            self.note_answer(Answer::Reset, now_us);
            return Some(Event::Refused);
        }
        if !record.has_flags(flags::ACK) || record.flags & flags::SYN != 0 {
            return None;
        }
        if self.is_challenge(record, now_us) {
            if self.is_copy(now_us) {
                return None;
            }
            self.learn_from(record);
            self.challenge_acks += 1;
            self.note_answer(Answer::ChallengeAck, now_us);
            return Some(Event::Refused);
        }
        let of_new = ahead(record.ack, self.attempt.isn.wrapping_add(1));
        let goes_on = self.initiator_spoke && (0..UNSEEN_BYTES).contains(&of_new);
        goes_on.then(|| self.connected_unseen(now_us))
    }

    /// A bare ACK, the first since the last SYN, that does not acknowledge this SYN.
    fn is_challenge(&self, record: &Record, now_us: u64) -> bool {
        let bare = record.payload_len == 0 && record.flags & (flags::FIN | flags::SYN) == 0;
        let tracked = self.held.state != Holder::Unknown && record.ack == self.held.expected;
        let of_new = ahead(record.ack, self.attempt.isn);
        let unrelated = !(0..=UNSEEN_BYTES).contains(&of_new);
        let timely = now_us.saturating_sub(self.last_syn_us) <= ANSWER_US;
        bare && timely && !self.answered && !self.initiator_spoke && (tracked || unrelated)
    }

    fn is_copy(&self, now_us: u64) -> bool {
        self.answer != Answer::None && now_us.saturating_sub(self.last_answer_us) < COPY_US
    }

    /// A challenge ACK carries the holder's own numbers: RCV.NXT and, as TSecr, TS.Recent. Where the
    /// tracked ones were unknown or wrong, these stand and the verdict is taken anew.
    fn learn_from(&mut self, answer: &Record) {
        let ts_recent = answer.timestamp().map(|_| answer.ts_ecr);
        let same_timestamp = ts_recent.is_none() || ts_recent == self.held.ts_recent;
        let known = self.held.state != Holder::Unknown && !self.held.ts_stale;
        if known && answer.ack == self.held.expected && same_timestamp {
            return;
        }
        self.from_answer = true;
        self.held.expected = answer.ack;
        self.held.ts_recent = ts_recent;
        self.held.ts_stale = false;
        self.verdict = self.judge();
    }

    fn note_answer(&mut self, answer: Answer, now_us: u64) {
        self.first_answered |= self.syn_count == 1;
        if matches!(self.answer, Answer::None | Answer::NotVisible) {
            self.answer = answer;
        }
        self.visible = true;
        self.answered = true;
        self.last_answer_us = now_us;
        self.last_us = now_us;
    }

    /// Takes a segment of the initiator that is no SYN. Returns the event, and whether the segment
    /// is of the new connection (otherwise it is the old one's).
    pub fn hear_initiator(&mut self, record: &Record, now_us: u64) -> (Option<Event>, bool) {
        if record.has_flags(flags::RST) {
            if now_us.saturating_sub(self.last_reset_us) >= COPY_US {
                self.resets_by_initiator += 1;
            }
            self.last_reset_us = now_us;
            self.last_us = now_us;
            return (None, false);
        }
        let past_syn = ahead(record.seq, self.attempt.isn);
        let is_new = (1..UNSEEN_BYTES).contains(&past_syn) && record.seq != self.held.expected;
        if !is_new {
            return (None, false);
        }
        self.initiator_spoke = true;
        self.last_us = now_us;
        // Its ACK completes the handshake; the SYN/ACK is in a direction or a moment not captured.
        (Some(Event::Connected), true)
    }
}
