//! The control mix: random connections of many open their next life (SYN, SYN/ACK, ACK) or close it
//! (FIN, FIN, ACK); one in a hundred comes back on the same tuple, the others on a new one.
//!
//! The three segments of an opening or a close lie as many records apart as a thirty-second of the
//! connections, so that no segment finds its table line warm from the one before.

use std::collections::VecDeque;

use xdpwatch_prog::record::{Record, flags, marks};

/// A set of live connections.
pub struct Mix {
    lives: Vec<Life>,
    /// Connections in the middle of their opening or close, the oldest first.
    under_way: VecDeque<usize>,
    delay: usize,
    /// Segments with data, and their acknowledgments, in each life.
    data: u16,
    filled: usize,
    random: u64,
    at_ns: u64,
}

#[derive(Clone, Copy, Default)]
struct Life {
    generation: u32,
    stage: u8,
    isn: u32,
    /// Segments of its data so far, and bytes.
    sent: u16,
    bytes: u32,
}

impl Life {
    /// Open or closed, not in between.
    fn is_idle(self) -> bool {
        self.stage.is_multiple_of(3)
    }
}

/// Segments of a life, in order: flags, and whether the client sends it.
const STAGES: [(u8, bool); 6] = [
    (flags::SYN, true),
    (flags::SYN | flags::ACK, false),
    (flags::ACK, true),
    (flags::FIN | flags::ACK, false),
    (flags::FIN | flags::ACK, true),
    (flags::ACK, false),
];

/// Bytes of a segment with data: what an Ethernet frame has room for beside timestamps.
const DATA_BYTES: u32 = 1448;

impl Mix {
    /// `tuples` connections, none of them begun.
    #[must_use]
    pub fn new(tuples: usize) -> Self {
        let delay = (tuples / 32).max(1);
        // Initial sequence numbers are random on the wire: equal ones would look like a balancer's legs.
        let life = |n: usize| Life { isn: (n as u32).wrapping_mul(0x9e37_79b9), ..Life::default() };
        Self {
            lives: (0..tuples).map(life).collect(),
            data: 0,
            under_way: VecDeque::with_capacity(delay),
            delay,
            filled: 0,
            random: 88_172_645_463_325_252,
            at_ns: 1 << 60,
        }
    }

    /// Each connection carries so many segments of data and acknowledgments, two to one, between its
    /// opening and its close: as most captures are.
    #[must_use]
    pub fn with_data(self, segments: u16) -> Self {
        Self { data: segments, ..self }
    }

    /// The next segment that brings the connections, one after the other, to where they are open or,
    /// every other one, closed; `None` when all are.
    pub fn fill(&mut self) -> Option<Record> {
        let n = self.filled;
        let target = if n.is_multiple_of(2) { 3 } else { 6 };
        let life = self.lives.get(n)?;
        let done = usize::from(life.stage) + 1;
        self.filled += usize::from(done == target);
        Some(self.step(n))
    }

    /// The next segment of the mix.
    pub fn next_record(&mut self) -> Record {
        let n = if self.under_way.len() < self.delay {
            self.random_idle()
        } else {
            self.under_way.pop_front().unwrap_or(0)
        };
        let record = self.step(n);
        if !self.lives[n].is_idle() {
            self.under_way.push_back(n);
        }
        record
    }

    /// A SYN of a client that was never seen and will not be again.
    pub fn stranger(&mut self, n: u32) -> Record {
        self.at_ns += 1_000;
        let mut record = segment(n, &Life::default(), flags::SYN, true, self.at_ns);
        record.src_addr = address(0x2000_0000 + n);
        record
    }

    fn random_idle(&mut self) -> usize {
        loop {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let n = self.random as usize % self.lives.len();
            if self.lives[n].is_idle() {
                return n;
            }
        }
    }

    fn step(&mut self, n: usize) -> Record {
        // Slow enough that a closed tuple's TIME_WAIT is over before the table needs its place, fast
        // enough that a handshake takes no more than two seconds.
        self.at_ns += 60_000_000_000 / self.lives.len() as u64;
        let life = &mut self.lives[n];
        if life.stage == 3 && life.sent < self.data {
            life.sent += 1;
            let from_client = life.sent.is_multiple_of(3);
            let mut record = segment(n as u32, life, flags::ACK, from_client, self.at_ns);
            if !from_client {
                record.payload_len = DATA_BYTES;
                life.bytes = life.bytes.wrapping_add(DATA_BYTES);
            }
            return record;
        }
        let (tcp_flags, from_client) = STAGES[usize::from(life.stage)];
        let record = segment(n as u32, life, tcp_flags, from_client, self.at_ns);
        life.stage = (life.stage + 1) % STAGES.len() as u8;
        if life.stage == 0 {
            life.isn = life.isn.wrapping_add(40_000_000);
            (life.sent, life.bytes) = (0, 0);
            life.generation += u32::from(!self.random.is_multiple_of(100));
        }
        record
    }
}

fn segment(n: u32, life: &Life, tcp_flags: u8, from_client: bool, at_ns: u64) -> Record {
    let past_syn = u32::from(life.stage > 0);
    let client_next = life.isn.wrapping_add(past_syn + u32::from(life.stage > 4));
    let server_isn = life.isn.wrapping_add(0x3000_0000);
    let server_sent = u32::from(life.stage > 1) + u32::from(life.stage > 3);
    let server_next = server_isn.wrapping_add(server_sent).wrapping_add(life.bytes);
    let mut record = Record {
        at_ns,
        src_addr: address(n.wrapping_mul(2_654_435_761) ^ life.generation),
        dst_addr: address(0x0a00_0001 + (n & 0xff)),
        src_port: (n >> 3) as u16 | 1024,
        dst_port: 80,
        seq: client_next,
        ack: if life.stage == 0 { 0 } else { server_next },
        ts_val: (at_ns / 1_000_000) as u32,
        ts_ecr: 1,
        window: 500,
        flags: tcp_flags,
        marks: marks::TIMESTAMPS,
        ..Record::default()
    };
    if !from_client {
        std::mem::swap(&mut record.src_addr, &mut record.dst_addr);
        std::mem::swap(&mut record.src_port, &mut record.dst_port);
        (record.seq, record.ack) = (server_next, client_next);
    }
    record
}

fn address(v4: u32) -> [u8; 16] {
    std::net::Ipv4Addr::from(v4).to_ipv6_mapped().octets()
}
