//! What the tests of the binary share: running it, TCP frames, and capture files built in memory.

#![allow(dead_code, reason = "every test binary uses its own part of this")]

#[cfg(feature = "webhook")]
pub mod hook;
#[cfg(feature = "api")]
pub mod http;
#[cfg(feature = "xdp")]
pub mod lab;
#[cfg(feature = "xdp")]
pub mod net;
#[cfg(feature = "webhook")]
pub mod tls;
pub mod trace;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The binary under test.
pub fn xdpwatch() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xdpwatch"));
    command.args(["--sensor", "test"]);
    command
}

/// Runs it with these arguments.
pub fn run(args: &[&str]) -> Output {
    xdpwatch().args(args).output().expect("the binary starts")
}

/// Runs it with these arguments and none of the tests' own: subcommands take no others.
pub fn run_bare(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xdpwatch")).args(args).output().expect("the binary starts")
}

/// Its standard output.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Its standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The alert events among lines of JSON.
pub fn alerts(output: &Output) -> Vec<String> {
    let text = stdout(output);
    let lines = text.lines().filter(|line| line.contains("\"event_type\":\"alert\""));
    lines.map(str::to_owned).collect()
}

/// The most memory that a process has had resident so far, kB; 0 where it has ended.
pub fn peak_kb(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|peak| peak.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// A capture that the tests ship.
pub fn capture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures").join(name)
}

/// One TCP segment to be built.
#[derive(Clone, Copy)]
pub struct Segment {
    pub src: (u32, u16),
    pub dst: (u32, u16),
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub ts_val: u32,
    pub ts_ecr: u32,
}

pub const SYN: u8 = 2;
pub const ACK: u8 = 16;
pub const FIN: u8 = 1;
pub const RST: u8 = 4;

impl Segment {
    /// The IPv4 packet, without payload; checksums are left out, nothing here looks at them.
    pub fn packet(&self) -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 52, 0, 1, 0, 0, 64, 6, 0, 0];
        bytes.extend(self.src.0.to_be_bytes());
        bytes.extend(self.dst.0.to_be_bytes());
        bytes.extend(self.src.1.to_be_bytes());
        bytes.extend(self.dst.1.to_be_bytes());
        bytes.extend(self.seq.to_be_bytes());
        bytes.extend(self.ack.to_be_bytes());
        bytes.extend([0x80, self.flags, 1, 0, 0, 0, 0, 0, 1, 1, 8, 10]);
        bytes.extend(self.ts_val.to_be_bytes());
        bytes.extend(self.ts_ecr.to_be_bytes());
        bytes
    }

    /// The Ethernet frame.
    pub fn frame(&self) -> Vec<u8> {
        let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
        bytes.extend(self.packet());
        bytes
    }
}

/// A frame and when it is seen, nanoseconds since the Unix epoch.
pub type Timed = (u64, Vec<u8>);

/// A connection that its server closes, and 5 s later a SYN on its tuple that TIME-WAIT refuses by
/// PAWS, three times, answered each time.
pub fn collision(client: (u32, u16), server: (u32, u16), start_ns: u64) -> Vec<Timed> {
    let there = |seq, ack, flags, ts_val, ts_ecr| Segment {
        src: client,
        dst: server,
        seq,
        ack,
        flags,
        ts_val,
        ts_ecr,
    };
    let back = |seq, ack, flags, ts_val, ts_ecr| Segment {
        src: server,
        dst: client,
        ..there(seq, ack, flags, ts_val, ts_ecr)
    };
    let ms = |ms: u64| start_ns + ms * 1_000_000;
    let mut segments = vec![
        (ms(0), there(100, 0, SYN, 5000, 0)),
        (ms(1), back(900, 101, SYN | ACK, 70, 5000)),
        (ms(2), there(101, 901, ACK, 5001, 70)),
        (ms(3), back(901, 101, FIN | ACK, 72, 5001)),
        (ms(4), there(101, 902, FIN | ACK, 5002, 72)),
        (ms(5), back(902, 102, ACK, 73, 5002)),
    ];
    for at in [5000, 6000, 8000] {
        segments.push((ms(at), there(50_000, 0, SYN, 2000, 0)));
        segments.push((ms(at) + 20_000, back(902, 102, ACK, 5073, 5002)));
    }
    segments.into_iter().map(|(at, segment)| (at, segment.frame())).collect()
}

/// Whether the server sent this frame of a [`collision`].
pub fn is_from(server: (u32, u16), frame: &[u8]) -> bool {
    frame[26..30] == server.0.to_be_bytes() && frame[34..36] == server.1.to_be_bytes()
}

/// A pcap file: magic and byte order as asked for.
pub fn pcap(frames: &[Timed], nanoseconds: bool, big_endian: bool, link: u32) -> Vec<u8> {
    let u32_ = |n: u32| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
    let u16_ = |n: u16| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
    let mut file = Vec::new();
    file.extend(u32_(if nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 }));
    file.extend(u16_(2));
    file.extend(u16_(4));
    file.extend([0; 8]);
    file.extend(u32_(65535));
    file.extend(u32_(link));
    for (at_ns, bytes) in frames {
        let fraction = at_ns % 1_000_000_000 / if nanoseconds { 1 } else { 1000 };
        file.extend(u32_((at_ns / 1_000_000_000) as u32));
        file.extend(u32_(fraction as u32));
        file.extend(u32_(bytes.len() as u32));
        file.extend(u32_(bytes.len() as u32));
        file.extend(bytes);
    }
    file
}

/// A pcapng block.
pub fn block(kind: u32, body: &[u8], big_endian: bool) -> Vec<u8> {
    let u32_ = |n: u32| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
    let len = u32_(body.len() as u32 + 12);
    [u32_(kind).as_slice(), &len, body, &len].concat()
}

/// A pcapng file with two interfaces that take turns: Ethernet with microseconds, and raw IP whose
/// ticks are 2^-10 s, so that whole seconds are exact, and start 100 s later (if_tsoffset).
pub fn pcapng(frames: &[Timed], big_endian: bool) -> Vec<u8> {
    let u32_ = |n: u32| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
    let u16_ = |n: u16| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
    let offset = if big_endian { 100i64.to_be_bytes() } else { 100i64.to_le_bytes() };
    let section = [u32_(0x1a2b_3c4d).as_slice(), &u16_(1), &u16_(0), &[0xff; 8]].concat();
    let ethernet = [u16_(1).as_slice(), &u16_(0), &u32_(0)].concat();
    let raw = [
        [u16_(101).as_slice(), &u16_(0), &u32_(0)].concat(),
        [u16_(9).as_slice(), &u16_(1), &[0x80 | 30, 0, 0, 0]].concat(),
        [u16_(14).as_slice(), &u16_(8), &offset].concat(),
        [0; 4].to_vec(),
    ]
    .concat();
    let mut file = block(0x0a0d_0d0a, &section, big_endian);
    file.extend(block(1, &ethernet, big_endian));
    file.extend(block(1, &raw, big_endian));
    for (n, (at_ns, frame)) in frames.iter().enumerate() {
        let (interface, ticks, bytes) = if n % 2 == 0 {
            (0, at_ns / 1000, &frame[..])
        } else {
            let ticks = u128::from(at_ns - 100_000_000_000) * (1 << 30) / 1_000_000_000;
            (1, ticks as u64 + 1, &frame[14..])
        };
        let mut body = [
            u32_(interface),
            u32_((ticks >> 32) as u32),
            u32_(ticks as u32),
            u32_(bytes.len() as u32),
            u32_(bytes.len() as u32),
        ]
        .concat();
        body.extend(bytes);
        body.resize(body.len().next_multiple_of(4), 0);
        file.extend(block(6, &body, big_endian));
    }
    file
}
