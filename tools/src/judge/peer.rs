//! The kernel's peer: a TCP of raw packets that does exactly what it is told.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use xdpwatch_prog::record::{Record, flags, marks};
use xdpwatch_prog::wire::{Link, parse_record};

use super::grid::{Clock, Question};
use super::{Answer, Cell};
use crate::frames;

const KERNEL: [u8; 4] = [10, 99, 0, 1];
const PEER: [u8; 4] = [10, 99, 0, 2];
const LISTENER: u16 = 8080;

/// The peer's first ISN and TSval: any will do, if half the circle ahead of the latter is newer.
const ISN: u32 = 3_000_000_000;
const TSVAL: u32 = 1_000_000_000;

/// Bytes that the peer sends over each connection.
const DATA_LEN: u32 = 100;

/// Any time will do; packets count from here.
const EPOCH_NS: u64 = 1_700_000_000_000_000_000;

/// One connection with the kernel, as its peer knows it.
pub struct Line {
    port: u16,
    socket: Option<TcpStream>,
    /// The peer's SND.NXT, which is what the kernel expects next.
    next: u32,
    /// What the peer acknowledges: the kernel's SND.NXT.
    acked: u32,
    ts_val: Option<u32>,
    /// When each SYN of the question was sent.
    syns_ns: Vec<u64>,
    last_ack: u32,
}

impl Line {
    /// Closes the kernel's socket, leaving it to the kernel.
    pub fn drop_socket(&mut self) {
        self.socket = None;
    }

    /// Closes the kernel's socket for writing and keeps it open.
    pub fn shut_socket(&self) -> io::Result<()> {
        self.socket.as_ref().map_or(Ok(()), |socket| socket.shutdown(Shutdown::Write))
    }

    /// SYNs of the question sent so far.
    pub fn asked(&self) -> usize {
        self.syns_ns.len()
    }
}

/// The live kernel behind the TUN device, and every packet exchanged with it.
pub struct Kernel {
    tun: File,
    listener: TcpListener,
    began: Instant,
    packets: HashMap<u16, Vec<(u64, Vec<u8>, Record)>>,
}

impl Kernel {
    /// Wraps the device; the listener is the kernel's service.
    pub fn new(tun: File, listener: TcpListener) -> io::Result<Self> {
        Ok(Self { tun, listener, began: Instant::now(), packets: HashMap::new() })
    }

    /// Opens a connection from `port`, accepts it, and sends a little data over it, so that what is
    /// expected next is not near the first ISN: a SYN with that very ISN would be taken for its copy.
    pub fn connect(&mut self, port: u16, timestamps: bool) -> io::Result<Line> {
        let mut line = Line {
            port,
            socket: None,
            next: ISN,
            acked: 0,
            ts_val: timestamps.then_some(TSVAL),
            syns_ns: Vec::new(),
            last_ack: 0,
        };
        self.send(&line, flags::SYN, line.next, 0)?;
        line.next = line.next.wrapping_add(1);
        let syn_ack = self.wait_for(port, |record| record.has_flags(flags::SYN | flags::ACK))?;
        line.acked = syn_ack.seq.wrapping_add(1);
        self.send(&line, flags::ACK, line.next, line.acked)?;
        loop {
            let (mut socket, from) = self.listener.accept()?;
            if from.port() != port {
                continue;
            }
            self.send_data(&mut line)?;
            // Unread data would make close() send RST.
            socket.read_exact(&mut [0; DATA_LEN as usize])?;
            line.socket = Some(socket);
            return Ok(line);
        }
    }

    fn send_data(&mut self, line: &mut Line) -> io::Result<()> {
        let push = self.record(line, flags::PSH | flags::ACK, line.next, line.acked);
        self.write(&Record { payload_len: DATA_LEN, ..push })?;
        line.next = line.next.wrapping_add(DATA_LEN);
        Ok(())
    }

    /// Waits for the kernel's FIN and acknowledges it.
    pub fn acknowledge_fin(&mut self, line: &mut Line) -> io::Result<()> {
        let fin = self.wait_for(line.port, |record| record.has_flags(flags::FIN))?;
        line.acked = fin.seq.wrapping_add(fin.sequence_len());
        self.send(line, flags::ACK, line.next, line.acked)
    }

    /// Sends the peer's FIN.
    pub fn send_fin(&mut self, line: &mut Line) -> io::Result<()> {
        self.send(line, flags::FIN | flags::ACK, line.next, line.acked)?;
        line.next = line.next.wrapping_add(1);
        Ok(())
    }

    /// Sends a keepalive probe: an empty segment one below what is expected.
    pub fn send_keepalive(&mut self, line: &Line) -> io::Result<()> {
        self.send(line, flags::ACK, line.next.wrapping_sub(1), line.acked)
    }

    /// Sends the question's SYN.
    pub fn send_syn(&mut self, line: &mut Line, question: &Question) -> io::Result<()> {
        let isn = line.next.wrapping_add(question.isn_delta as u32);
        let ts_val = match question.clock {
            Clock::Absent => None,
            Clock::Zero => Some(0),
            Clock::Delta(delta) => Some(line.ts_val.unwrap_or(TSVAL).wrapping_add(delta as u32)),
        };
        let syn = Record { ts_val: ts_val.unwrap_or(0), ..self.record(line, flags::SYN, isn, 0) };
        let timestamps = if ts_val.is_some() { marks::TIMESTAMPS } else { 0 };
        let marks = (syn.marks & !marks::TIMESTAMPS) | timestamps;
        line.syns_ns.push(self.write(&Record { marks, ts_ecr: 0, ..syn })?);
        Ok(())
    }

    /// Resets with the number that the kernel's last ACK asked for, as a client in SYN-SENT does.
    pub fn send_reset(&mut self, line: &mut Line) -> io::Result<()> {
        let last = self.since_last_syn(line).last().map(|record| record.ack);
        line.last_ack = last.unwrap_or(line.next);
        let reset = self.record(line, flags::RST, line.last_ack, 0);
        self.write(&Record { marks: 0, ..reset })?;
        Ok(())
    }

    /// What the kernel sent since the line's last SYN.
    pub fn answer_to(&self, line: &Line) -> Answer {
        let asked = |record: &Record| {
            // A FIN that the kernel repeats by its own clock answers nothing.
            record.flags & flags::FIN == 0
        };
        let Some(first) = self.since_last_syn(line).find(asked) else { return Answer::Silence };
        if first.has_flags(flags::RST) {
            Answer::Reset
        } else if first.has_flags(flags::SYN) {
            Answer::SynAck(first.seq.wrapping_sub(line.acked))
        } else {
            Answer::Ack
        }
    }

    fn since_last_syn(&self, line: &Line) -> impl Iterator<Item = Record> {
        let since_ns = line.syns_ns.last().copied().unwrap_or(u64::MAX);
        let packets = self.packets.get(&line.port).map_or(&[][..], Vec::as_slice);
        packets
            .iter()
            .filter(move |(at_ns, _, record)| *at_ns >= since_ns && record.src_port == LISTENER)
            .map(|(_, _, record)| *record)
    }

    /// Takes in what the kernel sends, for this long.
    pub fn pump(&mut self, time: Duration) -> io::Result<()> {
        self.pump_until(Instant::now() + time)
    }

    /// Takes in what the kernel sends, until then.
    pub fn pump_until(&mut self, until: Instant) -> io::Result<()> {
        loop {
            self.read_all()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            super::sys::readable(&self.tun, left.max(Duration::from_millis(1)))?;
        }
    }

    /// Every question with its packets and answers.
    pub fn into_cells(
        mut self,
        lines: &[Line],
        questions: &[Question],
        answers: Vec<Vec<Answer>>,
    ) -> Vec<Cell> {
        let cells = lines.iter().zip(questions).zip(answers);
        cells
            .map(|((line, question), answers)| {
                let packets = self.packets.remove(&line.port).unwrap_or_default();
                let packets = packets.into_iter().map(|(at, packet, _)| (at, packet)).collect();
                Cell { question: *question, packets, answers }
            })
            .collect()
    }

    fn wait_for(&mut self, port: u16, wanted: impl Fn(&Record) -> bool) -> io::Result<Record> {
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            self.read_all()?;
            let packets = self.packets.get(&port).map_or(&[][..], Vec::as_slice);
            let found = packets
                .iter()
                .rev()
                .map(|(_, _, record)| record)
                .find(|record| record.src_port == LISTENER && wanted(record));
            if let Some(record) = found {
                return Ok(*record);
            }
            if Instant::now() > until {
                return Err(io::Error::new(ErrorKind::TimedOut, format!("port {port}: no answer")));
            }
            super::sys::readable(&self.tun, Duration::from_millis(10))?;
        }
    }

    fn read_all(&mut self) -> io::Result<()> {
        let mut buffer = [0; 2048];
        loop {
            match self.tun.read(&mut buffer) {
                Ok(len) => self.keep(&buffer[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
        }
    }

    fn keep(&mut self, packet: &[u8]) -> u64 {
        let at_ns = EPOCH_NS + u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(0);
        if let Ok(record) = parse_record(packet, packet.len() as u32, at_ns, Link::RawIp) {
            let port = record.src_port.max(record.dst_port);
            self.packets.entry(port).or_default().push((at_ns, packet.to_vec(), record));
        }
        at_ns
    }

    fn send(&mut self, line: &Line, tcp_flags: u8, seq: u32, ack: u32) -> io::Result<()> {
        let record = self.record(line, tcp_flags, seq, ack);
        self.write(&record).map(|_| ())
    }

    fn write(&mut self, record: &Record) -> io::Result<u64> {
        let packet = frames::ip(record);
        let at_ns = self.keep(&packet);
        self.tun.write_all(&packet)?;
        Ok(at_ns)
    }

    /// A segment of the peer. Its timestamps echo what the kernel sent last.
    fn record(&self, line: &Line, tcp_flags: u8, seq: u32, ack: u32) -> Record {
        let echo = self.packets.get(&line.port).and_then(|packets| {
            packets.iter().rev().find(|(_, _, record)| record.src_port == LISTENER)
        });
        let mut record = Record {
            src_port: line.port,
            dst_port: LISTENER,
            seq,
            ack,
            flags: tcp_flags,
            window: 64_240,
            ttl: 64,
            ..Record::default()
        };
        for (place, addr) in [(&mut record.src_addr, PEER), (&mut record.dst_addr, KERNEL)] {
            *place = std::net::Ipv4Addr::from(addr).to_ipv6_mapped().octets();
        }
        if let Some(ts_val) = line.ts_val {
            record.marks |= marks::TIMESTAMPS;
            record.ts_val = ts_val;
            record.ts_ecr = echo.map_or(0, |(_, _, record)| record.ts_val);
        }
        if tcp_flags & flags::SYN != 0 {
            record.marks |= marks::WINDOW_SCALE;
            record.window_scale = 7;
        }
        record
    }
}
