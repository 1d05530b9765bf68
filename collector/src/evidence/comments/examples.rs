//! Comments of connections that made a rule fire: on the segments that told, and on those that say how
//! the connection came there.

use xdpwatch_core::finding::{Endpoint, Finding};
use xdpwatch_core::grounds::{Example, Examples, Sign};
use xdpwatch_core::repetition::COPY_US;
use xdpwatch_core::tuple::Tuple;
use xdpwatch_prog::record::{Record, flags};

use super::seconds;
use crate::report::values::{endpoint, grouped};

/// One of the tuples, as far as its packets were commented.
#[derive(Default)]
struct Track {
    syns: u32,
    first_syn_ns: u64,
    last_syn_ns: u64,
    fins: u32,
    /// Who closed first, and when.
    closer: Option<(Endpoint, u64)>,
    last_fin_ns: u64,
}

/// Connections that made a rule fire, packet by packet in order of time.
pub struct Exemplified<'a> {
    finding: &'a Finding,
    /// Those whose decisive segment was not met yet.
    examples: Vec<Example>,
    tuples: Vec<Tuple>,
    tracks: Vec<Track>,
}

impl<'a> Exemplified<'a> {
    /// For this finding.
    #[must_use]
    pub fn new(finding: &'a Finding, examples: &Examples) -> Self {
        let tuples = examples.tuples();
        let tracks = tuples.iter().map(|_| Track::default()).collect();
        Self { finding, examples: examples.kept().to_vec(), tuples, tracks }
    }

    /// The comment of the next packet, on the n-th of the tuples.
    pub fn comment(&mut self, own: usize, record: &Record) -> String {
        let Some((tuple, track)) = self.tuples.get(own).zip(self.tracks.get_mut(own)) else {
            return String::new();
        };
        let is_it = |example: &Example| {
            example.tuple == *tuple
                && example.at_us == record.at_ns / 1000
                && fits(example.sign, record)
        };
        let decisive = self.examples.iter().position(is_it);
        let decisive = decisive.map(|place| self.examples.remove(place).sign);
        let told = match (self.finding.rule.name, decisive) {
            ("connect_stalled", _) => track.stall(record),
            ("fin_unacknowledged", _) => track.unacknowledged(record),
            ("half_closed", sign) => track.half_closed(record, sign.is_some()),
            ("churn" | "port_pressure", None) => track.close(record),
            (_, None) => String::new(),
            (_, Some(sign)) => told(sign, record),
        };
        track.see(record);
        told
    }
}

/// Whether a segment at the time of this sign's can be that one.
fn fits(sign: Sign, record: &Record) -> bool {
    let syn = record.is_pure_syn();
    match sign {
        Sign::Unanswered
        | Sign::Judged { .. }
        | Sign::BehindOthers(_)
        | Sign::BehindItself(_)
        | Sign::Before => syn,
        Sign::FinAgain => record.has_flags(flags::FIN),
        Sign::SynRefused | Sign::HandshakeReset => record.has_flags(flags::RST),
        Sign::HalfClosed | Sign::Accepted | Sign::AckedUnseen => record.has_flags(flags::ACK),
        Sign::PortTaken | Sign::CameBack(_) => record.has_flags(flags::SYN),
        Sign::OneSided | Sign::Copy => true,
    }
}

/// What a decisive segment shows.
fn told(sign: Sign, record: &Record) -> String {
    let end = |addr, port| endpoint(&Endpoint { addr, port });
    let (src, dst) = (end(record.src_addr, record.src_port), end(record.dst_addr, record.dst_port));
    match sign {
        Sign::SynRefused => format!("RST: {src} refuses, nothing listens there at this moment"),
        Sign::HandshakeReset => {
            format!(
                "RST right after the handshake: the listener at {src} was closed with it in its queue"
            )
        }
        Sign::Accepted => format!("{src} takes a connection: its listener lives"),
        Sign::Judged { behind, answered } => {
            let judged = if answered { "answered" } else { "not answered" };
            let taken = "the last one that the server took from this address";
            format!("TSval {} {taken}: {judged}", distance(behind))
        }
        Sign::BehindOthers(ticks) => {
            format!("TSval {} the SYN before it from this address: another clock", distance(ticks))
        }
        Sign::BehindItself(ticks) => format!(
            "TSval {} the last one of this tuple's earlier connection: another clock",
            distance(ticks)
        ),
        Sign::Before => "the SYN before, from another clock".to_owned(),
        Sign::PortTaken => format!("takes port {} of its address towards {dst}", record.src_port),
        Sign::CameBack(after_ms) => {
            let (s, ms) = (after_ms / 1000, after_ms % 1000);
            format!("the tuple comes back {s}.{ms:03} s after it was closed")
        }
        Sign::OneSided => {
            "the connection goes on, and one of its directions was not seen".to_owned()
        }
        Sign::Copy => "the same segment again at once: the mirror's copy".to_owned(),
        Sign::AckedUnseen => "acknowledges data that is not in the feed".to_owned(),
        // Told with the connection's other segments.
        Sign::Unanswered | Sign::FinAgain | Sign::HalfClosed => String::new(),
    }
}

/// Ticks between two timestamps.
fn distance(behind: i32) -> String {
    let ticks = grouped(i64::from(behind));
    let ticks = ticks.trim_start_matches(['+', '-']);
    if behind > 0 { format!("{ticks} behind") } else { format!("{ticks} ahead of") }
}

impl Track {
    fn see(&mut self, record: &Record) {
        if record.is_pure_syn() {
            if record.at_ns.saturating_sub(self.last_syn_ns) / 1000 >= COPY_US {
                self.syns += 1;
            }
            if self.syns == 1 || self.closer.is_some() {
                self.first_syn_ns = record.at_ns;
                self.closer = None;
            }
            self.last_syn_ns = record.at_ns;
        }
        if record.has_flags(flags::FIN) {
            let src = Endpoint { addr: record.src_addr, port: record.src_port };
            let (closer, _) = *self.closer.get_or_insert((src, record.at_ns));
            self.fins += u32::from(closer == src);
            self.last_fin_ns = record.at_ns;
        }
    }

    fn stall(&self, record: &Record) -> String {
        let since_first = seconds(self.first_syn_ns, record.at_ns);
        let again_ns = record.at_ns.saturating_sub(self.last_syn_ns);
        if record.is_pure_syn() {
            return match self.syns {
                0 => "SYN on a tuple that nobody held".to_owned(),
                _ if again_ns / 1000 < COPY_US => "a copy of the SYN, by the mirror".to_owned(),
                n => format!(
                    "the SYN again, number {}, {} after the one before: no answer so far",
                    n + 1,
                    seconds(self.last_syn_ns, record.at_ns)
                ),
            };
        }
        if self.syns == 0 {
            return String::new();
        }
        if record.has_flags(flags::SYN | flags::ACK) {
            return format!("SYN/ACK: answered at last, {since_first} after the first SYN");
        }
        if record.has_flags(flags::RST) {
            return format!("RST, {since_first} after the first SYN");
        }
        String::new()
    }

    fn unacknowledged(&self, record: &Record) -> String {
        if !record.has_flags(flags::FIN) {
            return String::new();
        }
        let src = Endpoint { addr: record.src_addr, port: record.src_port };
        let again_ns = record.at_ns.saturating_sub(self.last_fin_ns);
        match self.closer {
            None => format!("FIN by {}", endpoint(&src)),
            Some((closer, _)) if closer != src && self.fins == 1 => {
                format!("FIN by {} too", endpoint(&src))
            }
            Some(_) if again_ns / 1000 < COPY_US => "a copy of the FIN, by the mirror".to_owned(),
            Some(_) => format!(
                "the FIN of {} again, {} after the one before: not acknowledged so far",
                endpoint(&src),
                seconds(self.last_fin_ns, record.at_ns)
            ),
        }
    }

    fn half_closed(&self, record: &Record, is_decisive: bool) -> String {
        let end = |addr, port| endpoint(&Endpoint { addr, port });
        let src = end(record.src_addr, record.src_port);
        if is_decisive {
            let dst = end(record.dst_addr, record.dst_port);
            return format!(
                "the FIN is acknowledged: {dst} is in FIN_WAIT2, {src} in CLOSE_WAIT until it closes too"
            );
        }
        match self.closer {
            _ if record.has_flags(flags::RST) => format!("RST by {src}"),
            None if record.has_flags(flags::FIN) => format!("{src} closes its direction"),
            Some((closer, closed_ns)) if record.has_flags(flags::FIN) => {
                let other = record.src_addr != closer.addr || record.src_port != closer.port;
                let after = seconds(closed_ns, record.at_ns);
                if other { format!("{src} closes too, {after} later") } else { String::new() }
            }
            _ => String::new(),
        }
    }

    /// The first FIN of a life.
    fn close(&self, record: &Record) -> String {
        if !record.has_flags(flags::FIN) || self.closer.is_some() {
            return String::new();
        }
        let src = endpoint(&Endpoint { addr: record.src_addr, port: record.src_port });
        match self.first_syn_ns {
            0 => format!("{src} closes first: the port will wait in TIME_WAIT"),
            syn_ns => format!(
                "{src} closes first, {} after the SYN: the port will wait in TIME_WAIT",
                seconds(syn_ns, record.at_ns)
            ),
        }
    }
}
