//! Comments of a collision: the earlier connection's close, the SYNs, the answers.

use std::fmt::Write as _;

use xdpwatch_core::finding::{Fact, Finding};
use xdpwatch_prog::record::{Record, flags};

use crate::report::values::{endpoint, grouped};

/// A collision, packet by packet in order of time.
pub struct Collision<'a> {
    finding: &'a Finding,
    syns: u32,
    first_syn_ns: u64,
    last_syn_ns: u64,
    answers: u32,
    fins: u32,
}

impl<'a> Collision<'a> {
    /// For the case of this finding.
    #[must_use]
    pub fn new(finding: &'a Finding) -> Self {
        Self { finding, syns: 0, first_syn_ns: 0, last_syn_ns: 0, answers: 0, fins: 0 }
    }

    /// The next packet's comment; empty where it says nothing that Wireshark does not.
    pub fn comment(&mut self, record: &Record) -> String {
        if record.at_ns / 1000 < self.finding.began_ns / 1000 {
            self.earlier(record)
        } else {
            self.collision(record)
        }
    }

    /// The connection before: who closes, and since when it is held.
    fn earlier(&mut self, record: &Record) -> String {
        let sender = if record.src_addr == self.finding.dst.addr
            && record.src_port == self.finding.dst.port
        {
            "holder"
        } else {
            "other end"
        };
        if record.has_flags(flags::RST) {
            return format!("earlier connection: RST by the {sender}");
        }
        if record.has_flags(flags::FIN) {
            self.fins += 1;
            return match self.fins {
                1 => format!("earlier connection: the {sender} closes first{}", self.silence()),
                _ => format!("earlier connection: FIN by the {sender}"),
            };
        }
        if self.fins > 0 && sender == "holder" && self.state() == "time_wait" {
            let dst = endpoint(&self.finding.dst);
            return format!("earlier connection: from here on {dst} holds TIME_WAIT");
        }
        String::new()
    }

    fn silence(&self) -> String {
        match self.finding.fact("holder.idle_before_close_ms") {
            Some(Fact::Number(ms)) => {
                format!(" after {}.{:03} s of silence", ms / 1000, ms % 1000)
            }
            _ => String::new(),
        }
    }

    /// The new SYNs, what answers them, and how it ends.
    fn collision(&mut self, record: &Record) -> String {
        let from_initiator =
            record.src_addr == self.finding.src.addr && record.src_port == self.finding.src.port;
        match (from_initiator, record.is_pure_syn()) {
            (true, true) => self.syn(record),
            (true, false) if record.has_flags(flags::RST) => {
                "RST by the initiator: it does not know the answer's numbers".to_owned()
            }
            (true, false) => String::new(),
            (false, _) => self.answer(record),
        }
    }

    fn syn(&mut self, record: &Record) -> String {
        self.syns += 1;
        let waited_ms = record.at_ns.saturating_sub(self.last_syn_ns) / 1_000_000;
        self.last_syn_ns = record.at_ns;
        if self.syns > 1 {
            let n = self.syns;
            return format!(
                "the SYN again, number {n}, {}.{:03} s after the one before",
                waited_ms / 1000,
                waited_ms % 1000
            );
        }
        self.first_syn_ns = record.at_ns;
        let mut text = format!("SYN on a tuple that is still held ({})", self.state());
        if let Some(Fact::Number(delta)) = self.finding.fact("isn_delta") {
            let _ = write!(text, "; ISN {} against what is expected", grouped(delta));
        }
        match self.finding.fact("ts_delta") {
            Some(Fact::Number(delta)) if delta < 0 => {
                let behind = grouped(-delta);
                let _ = write!(text, "; TSval {} behind the last one", &behind[1..]);
            }
            Some(Fact::Number(delta)) => {
                let _ = write!(text, "; TSval {} against the last one", grouped(delta));
            }
            _ => text += "; no timestamps to compare",
        }
        let verdict = match self.finding.fact("verdict") {
            Some(Fact::Word("refuse_paws")) => "PAWS refuses",
            Some(Fact::Word("refuse_sequence")) => "the sequence rule refuses",
            Some(Fact::Word("refuse_in_use")) => "refused, because the connection is in use",
            Some(Fact::Word("reset_in_window")) => "RST, because the ISN is inside the window",
            Some(Fact::Word("silent")) => "ignored, because the holder answered just before",
            Some(Fact::Word("accept")) => "the holder would accept",
            _ => "what the holder does with it cannot be told",
        };
        let _ = write!(text, ": {verdict}");
        text
    }

    fn answer(&mut self, record: &Record) -> String {
        let since_ms = record.at_ns.saturating_sub(self.first_syn_ns) / 1_000_000;
        let since = format!("{}.{:03} s after the first SYN", since_ms / 1000, since_ms % 1000);
        if record.has_flags(flags::SYN | flags::ACK) {
            return format!("SYN/ACK: accepted, {since}");
        }
        if record.has_flags(flags::RST) {
            self.answers += 1;
            return "RST: the holder refuses".to_owned();
        }
        if !record.has_flags(flags::ACK) || record.payload_len > 0 || self.syns == 0 {
            return String::new();
        }
        self.answers += 1;
        format!("challenge ACK: the old connection's numbers, {since}")
    }

    fn state(&self) -> &'static str {
        match self.finding.fact("holder.state") {
            Some(Fact::Word(state)) => state,
            _ => "unknown",
        }
    }
}
