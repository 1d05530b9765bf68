//! The file's frame: a magic number, then blocks, each with its kind, length and checksum, up to a last
//! one that counts what came before. Nothing follows it.

use std::io::{self, Read, Write};

/// The first bytes: one that no text begins with, and the name.
pub const MAGIC: [u8; 16] = *b"\x93xdpwatch state\0";

/// Bytes in a block at most; no damaged length may ask for memory.
pub const BLOCK_MAX: usize = 1 << 18;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What the rest is to be read with, as JSON.
    Head = 1,
    /// IPv4 tuples.
    V4 = 2,
    /// Other tuples.
    V6 = 3,
    /// How many tuples there are, and nothing after it.
    End = 4,
}

impl Kind {
    fn of(number: u32) -> Option<Self> {
        [Self::Head, Self::V4, Self::V6, Self::End].into_iter().find(|kind| *kind as u32 == number)
    }
}

/// Writes a block.
///
/// # Errors
/// Those of writing.
pub fn write(out: &mut impl Write, kind: Kind, bytes: &[u8]) -> io::Result<()> {
    let head = [kind as u32, bytes.len() as u32].map(u32::to_le_bytes).concat();
    out.write_all(&head)?;
    out.write_all(&checksum(&head, bytes).to_le_bytes())?;
    out.write_all(bytes)
}

/// Reads the next block into `bytes`.
///
/// # Errors
/// Those of reading; `InvalidData` with what is wrong with the block.
pub fn read(input: &mut impl Read, bytes: &mut Vec<u8>) -> io::Result<Kind> {
    let invalid = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut head = [0; 12];
    input.read_exact(&mut head).map_err(cut)?;
    let [kind, len, sum] = [0, 4, 8]
        .map(|at| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
    let len = len as usize;
    if len > BLOCK_MAX {
        return Err(invalid("a block has an impossible length"));
    }
    bytes.resize(len, 0);
    input.read_exact(bytes).map_err(cut)?;
    if checksum(&head[..8], bytes) != sum {
        return Err(invalid("a checksum does not fit"));
    }
    Kind::of(kind).ok_or_else(|| invalid("a block is of an unknown kind"))
}

fn cut(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            io::Error::new(io::ErrorKind::InvalidData, "the end is missing")
        }
        _ => error,
    }
}

fn checksum(head: &[u8], bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(bytes);
    hasher.finalize()
}
