//! The earlier connection's packets out of what the flow table knew of it: as few as bring a
//! detector to where it stood. Data, and what was said in between, is gone.

use xdpwatch_core::finding::Finding;
use xdpwatch_core::flow::{Flow, IDLE_UNKNOWN, SCALE_UNKNOWN, State, marks};
use xdpwatch_core::tuple::{Side, Tuple};
use xdpwatch_prog::record::{Record, flags, marks as record_marks};

/// Sequence numbers further ahead than a detector believes are reached in steps of this.
const STEP: u32 = 1 << 29;

/// Closing segments stand this far apart, microseconds: when each was seen is not known.
const APART_US: u64 = 1;

/// Segments of the connection that `finding` says was held, oldest first.
#[must_use]
pub fn earlier(finding: &Finding, tuple: &Tuple, flow: &Flow) -> Vec<Record> {
    let initiator = Side::from_bit(finding.src == tuple.b);
    let client = flow.marks.client().unwrap_or(initiator);
    let mut script = Script { finding, tuple, flow, records: Vec::new() };
    script.open(client);
    script.close();
    script.records
}

struct Script<'a> {
    finding: &'a Finding,
    tuple: &'a Tuple,
    flow: &'a Flow,
    records: Vec<Record>,
}

impl Script<'_> {
    /// Handshake as far as it was seen, then both ends at their last numbers before the close.
    fn open(&mut self, client: Side) {
        let Flow { first_us, isn, .. } = *self.flow;
        let server = client.peer();
        let isn_of_server = self.before_fin(server).wrapping_sub(1);
        if self.flow.marks.client().is_some() {
            self.say(client, first_us, flags::SYN, isn, 0);
        }
        if self.flow.is(marks::SYN_ACK_SEEN) {
            let ack = isn.wrapping_add(1);
            self.say(server, first_us, flags::SYN | flags::ACK, isn_of_server, ack);
        }
        if matches!(self.flow.state, State::SynSent | State::SynReceived) {
            return;
        }
        let at_us = self.before_close_us();
        let (last, ack) = (self.before_fin(client), self.before_fin(server));
        if self.flow.marks.client().is_some() {
            let mut seq = isn.wrapping_add(1);
            while last.wrapping_sub(seq) > STEP {
                seq = seq.wrapping_add(STEP);
                self.say(client, at_us, flags::ACK, seq, ack);
            }
        }
        self.say(client, at_us, flags::ACK, last, ack);
        self.say(server, at_us, flags::ACK, ack, last);
    }

    /// What each end sent to close, as far as the state says that it did.
    fn close(&mut self) {
        let Flow { state, changed_us, .. } = *self.flow;
        let closer = self.flow.marks.closer();
        let other = closer.peer();
        let (closer_next, other_next) = (self.next(closer), self.next(other));
        let [closer_fin, other_fin] = [closer, other].map(|side| self.before_fin(side));
        let fin = flags::FIN | flags::ACK;
        if state < State::FinWait1 || state == State::Reset {
            return;
        }
        self.say(closer, self.fin_us(), fin, closer_fin, other_fin);
        match state {
            State::FinWait2 => self.say(other, changed_us, flags::ACK, other_next, closer_next),
            State::LastAck => self.say(other, changed_us, fin, other_fin, closer_next),
            State::Closing => self.say(other, changed_us, fin, other_fin, closer_fin),
            State::TimeWait => {
                let both = self.flow.is(marks::BOTH_CLOSED);
                let ack = if both { closer_fin } else { closer_next };
                self.say(other, changed_us.saturating_sub(APART_US), fin, other_fin, ack);
                self.say(closer, changed_us, flags::ACK, closer_next, other_next);
                if self.flow.rearmed_ms > 0 {
                    self.say(other, self.flow.armed_us(), fin, other_fin, closer_next);
                }
            }
            _ => {}
        }
        // A FIN that nobody acknowledges holds the tuple for as long as it comes again.
        let last_us = self.flow.last_us;
        match state {
            State::FinWait1 if last_us > changed_us => {
                self.say(closer, last_us, fin, closer_fin, other_fin);
            }
            State::LastAck if last_us > changed_us => {
                self.say(other, last_us, fin, other_fin, closer_next);
            }
            _ => {}
        }
        if self.flow.is(marks::LIMITED) {
            // An empty segment that is not the expected one: its answer armed the limiter.
            self.say(other, self.flow.last_us, flags::ACK, other_fin, closer_next);
        }
    }

    fn next(&self, side: Side) -> u32 {
        self.flow.end(side).next
    }

    /// The number of this end's FIN, or of its next byte if it sent none.
    fn before_fin(&self, side: Side) -> u32 {
        let closed = match self.flow.state {
            State::FinWait1 | State::FinWait2 => side == self.flow.marks.closer(),
            State::LastAck | State::Closing | State::TimeWait => true,
            _ => false,
        };
        self.next(side).wrapping_sub(u32::from(closed))
    }

    /// When the first FIN may have been seen.
    fn fin_us(&self) -> u64 {
        let later = match self.flow.state {
            State::FinWait1 => 0,
            State::TimeWait => 2 * APART_US,
            _ => APART_US,
        };
        self.flow.changed_us.saturating_sub(later).max(self.flow.first_us)
    }

    fn before_close_us(&self) -> u64 {
        let Flow { state, idle_ms, last_us, first_us, .. } = *self.flow;
        let at_us = match idle_ms {
            _ if state < State::FinWait1 => last_us,
            IDLE_UNKNOWN => self.fin_us(),
            silence_ms => self.fin_us().saturating_sub(u64::from(silence_ms) * 1000),
        };
        at_us.max(first_us)
    }

    /// A segment from `from`; of an end that was never seen there are none. Times don't go back.
    fn say(&mut self, from: Side, at_us: u64, tcp_flags: u8, seq: u32, ack: u32) {
        if !self.flow.marks.seen(from) {
            return;
        }
        let Self { finding, tuple, flow, .. } = *self;
        let at_ns = (at_us * 1000).max(self.records.last().map_or(0, |last| last.at_ns));
        let (src, dst) = (tuple.end(from), tuple.end(from.peer()));
        let vlan_count = finding.vlans.len();
        let mut vlans = [0; 2];
        vlans[..vlan_count].copy_from_slice(&finding.vlans);
        let mut record = Record {
            at_ns,
            src_addr: src.addr,
            dst_addr: dst.addr,
            src_port: src.port,
            dst_port: dst.port,
            seq,
            ack,
            flags: tcp_flags,
            window: flow.end(from).window,
            ttl: 64,
            vni: finding.vni,
            vlans,
            vlan_count: vlan_count as u8,
            ..Record::default()
        };
        let v4 = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
        if src.addr[..12] != v4 || dst.addr[..12] != v4 {
            record.marks |= record_marks::IPV6;
        }
        self.add_options(from, &mut record);
        self.records.push(record);
    }

    fn add_options(&self, from: Side, record: &mut Record) {
        let flow = self.flow;
        // Timestamps of the other end since the FIN, if none were seen, were none of the holder's.
        let closing = from != flow.marks.closer()
            && self.records.iter().any(|earlier| earlier.has_flags(flags::FIN));
        if let Some(ts_val) = flow.timestamp(from)
            && (!closing || flow.is(marks::TIMESTAMP_FRESH))
        {
            record.marks |= record_marks::TIMESTAMPS;
            record.ts_val = ts_val;
            let echo =
                if record.has_flags(flags::ACK) { flow.timestamp(from.peer()) } else { None };
            record.ts_ecr = echo.unwrap_or(0);
        }
        let scales = flow.ends.map(|end| end.scale);
        let scaled = scales.iter().any(|scale| (1..SCALE_UNKNOWN).contains(scale));
        if record.has_flags(flags::SYN) && scaled && flow.end(from).scale != SCALE_UNKNOWN {
            record.marks |= record_marks::WINDOW_SCALE;
            record.window_scale = flow.end(from).scale;
        }
    }
}
