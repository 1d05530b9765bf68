//! What makes two sightings of a segment one: ends, numbers, control bits and length. The window, TTL and
//! IP id are left out, because what lies between the points may change them.

use ahash::RandomState;
use xdpwatch_core::finding::Endpoint;
use xdpwatch_prog::record::{Record, flags};

/// A segment, whoever saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    /// Who sent it.
    pub src: Endpoint,
    /// To whom.
    pub dst: Endpoint,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number; 0 without ACK.
    pub ack: u32,
    /// TSval and TSecr.
    pub timestamps: Option<(u32, u32)>,
    /// Bytes of data.
    pub payload_len: u32,
    /// Control bits without CWR and ECE.
    pub flags: u8,
}

impl Segment {
    /// The segment of a record.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        let has_ack = record.has_flags(flags::ACK);
        Self {
            src: Endpoint { addr: record.src_addr, port: record.src_port },
            dst: Endpoint { addr: record.dst_addr, port: record.dst_port },
            seq: record.seq,
            ack: if has_ack { record.ack } else { 0 },
            timestamps: record.timestamp().map(|ts_val| (ts_val, record.ts_ecr)),
            payload_len: record.payload_len,
            flags: record.flags & 0x3f,
        }
    }

    /// The same with its addresses left out, as a NAT would change them.
    #[must_use]
    pub fn without_addresses(&self) -> Self {
        let nowhere = |end: Endpoint| Endpoint { addr: [0; 16], ..end };
        Self { src: nowhere(self.src), dst: nowhere(self.dst), ..*self }
    }

    /// Both ends in one order, whichever sent.
    #[must_use]
    pub fn tuple(&self) -> (Endpoint, Endpoint) {
        (self.src.min(self.dst), self.src.max(self.dst))
    }

    /// Both addresses in one order.
    #[must_use]
    pub fn addresses(&self) -> ([u8; 16], [u8; 16]) {
        (self.src.addr.min(self.dst.addr), self.src.addr.max(self.dst.addr))
    }

    /// Whether the client sent it, as far as ports tell: the lower one is the service's.
    #[must_use]
    pub fn is_from_client(&self) -> bool {
        self.src.port > self.dst.port
    }

    /// Sequence space that it takes: data, and one each for SYN and FIN.
    #[must_use]
    pub fn sequence_len(&self) -> u32 {
        let bit = |flag| u32::from(self.flags & flag != 0);
        self.payload_len.wrapping_add(bit(flags::SYN)).wrapping_add(bit(flags::FIN))
    }

    /// Its kind, as people name it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.flags & (flags::SYN | flags::ACK | flags::FIN | flags::RST) {
            f if f & flags::RST != 0 => "RST",
            f if f & (flags::SYN | flags::ACK) == flags::SYN | flags::ACK => "SYN/ACK",
            f if f & flags::SYN != 0 => "SYN",
            f if f & flags::FIN != 0 => "FIN",
            _ if self.payload_len > 0 => "data",
            _ => "ACK",
        }
    }

    /// The same hash in every run.
    #[must_use]
    pub fn hash(&self) -> u64 {
        RandomState::with_seeds(0x636f, 0x6d70, 0x6172, 0x6572).hash_one(self)
    }
}
