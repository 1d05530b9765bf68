//! Writing pcapng: a section, its interfaces with times in nanoseconds, packets with comments
//! (draft-ietf-opsawg-pcapng). Reading is `capture::file`'s.

use std::io::{self, Write};

use xdpwatch_prog::wire::Link;

/// Block types and the byte-order magic (4.1 to 4.3, 4.6).
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const STATISTICS: u32 = 5;
const MAGIC: u32 = 0x1a2b_3c4d;

/// Options (3.5, 4.2, 4.6).
const COMMENT: u16 = 1;
const NAME: u16 = 2;
const RESOLUTION: u16 = 9;
const END_TIME: u16 = 3;

/// Ticks of 10^-9 s.
const NANOSECONDS: [u8; 1] = [9];

/// A packet to be written.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Its interface, in the order in which they were written.
    pub interface: u32,
    /// When it was seen, nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// Bytes it had on the wire.
    pub frame_len: u32,
    /// The bytes kept of it.
    pub bytes: &'a [u8],
    /// For people; empty for none.
    pub comment: &'a str,
}

/// Begins a file.
///
/// # Errors
/// Those of writing.
pub fn write_section(out: &mut impl Write, comment: &str) -> io::Result<()> {
    let mut body = Vec::new();
    body.extend(MAGIC.to_le_bytes());
    body.extend(1u16.to_le_bytes());
    body.extend(0u16.to_le_bytes());
    body.extend(u64::MAX.to_le_bytes());
    push_comment(&mut body, comment);
    write_block(out, SECTION, &body)
}

/// Describes the next interface.
///
/// # Errors
/// Those of writing.
pub fn write_interface(
    out: &mut impl Write,
    link: Link,
    name: &str,
    bytes_max: usize,
) -> io::Result<()> {
    let mut body = Vec::new();
    body.extend(link_number(link).to_le_bytes());
    body.extend(0u16.to_le_bytes());
    body.extend((bytes_max as u32).to_le_bytes());
    push_option(&mut body, NAME, name.as_bytes());
    push_option(&mut body, RESOLUTION, &NANOSECONDS);
    push_option(&mut body, 0, &[]);
    write_block(out, INTERFACE, &body)
}

/// Adds a packet.
///
/// # Errors
/// Those of writing.
pub fn write_packet(out: &mut impl Write, packet: &Packet<'_>) -> io::Result<()> {
    let len = packet.bytes.len() as u32;
    let mut body = Vec::with_capacity(24 + packet.bytes.len() + packet.comment.len());
    body.extend(packet.interface.to_le_bytes());
    body.extend(((packet.at_ns >> 32) as u32).to_le_bytes());
    body.extend((packet.at_ns as u32).to_le_bytes());
    body.extend(len.to_le_bytes());
    body.extend(packet.frame_len.max(len).to_le_bytes());
    body.extend(packet.bytes);
    pad(&mut body);
    push_comment(&mut body, packet.comment);
    write_block(out, PACKET, &body)
}

/// Says until when an interface was watched: past its last packet nothing came.
///
/// # Errors
/// Those of writing.
pub fn write_end(out: &mut impl Write, interface: u32, at_ns: u64) -> io::Result<()> {
    let time = [((at_ns >> 32) as u32).to_le_bytes(), (at_ns as u32).to_le_bytes()].concat();
    let mut body = Vec::new();
    body.extend(interface.to_le_bytes());
    body.extend(&time);
    push_option(&mut body, END_TIME, &time);
    push_option(&mut body, 0, &[]);
    write_block(out, STATISTICS, &body)
}

/// LINKTYPE_ numbers (tcpdump.org, "Link-layer header types").
fn link_number(link: Link) -> u16 {
    match link {
        Link::Null => 0,
        Link::Ethernet => 1,
        Link::RawIp => 101,
        Link::Loop => 108,
        Link::LinuxCooked => 113,
        Link::LinuxCooked2 => 276,
    }
}

fn push_comment(body: &mut Vec<u8>, comment: &str) {
    if !comment.is_empty() {
        push_option(body, COMMENT, comment.as_bytes());
        push_option(body, 0, &[]);
    }
}

fn push_option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(u16::MAX.into())];
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    pad(body);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

fn write_block(out: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<()> {
    let len = (body.len() as u32 + 12).to_le_bytes();
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&len)?;
    out.write_all(body)?;
    out.write_all(&len)
}
