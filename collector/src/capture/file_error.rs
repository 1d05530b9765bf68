//! Why a capture file can't be read, or not to its end, in words for its user.

use std::fmt;
use std::io;

use super::input::Progress;

/// Why a file gives no more packets, other than that it is over.
#[derive(Debug)]
pub enum FileError {
    /// The file could not be opened or its first bytes not be read.
    Open(io::Error),
    /// Reading or unpacking failed on the way.
    Read(io::Error),
    /// It has no bytes at all.
    Empty,
    /// Neither pcap nor pcapng.
    NotACapture,
    /// The big-endian form of the "modified" pcap that Linux systems of the nineties wrote.
    Modified,
    /// The file ends inside a packet or block.
    Cut,
    /// A packet or block contradicts itself.
    Damaged(&'static str),
    /// Packets of a link type that nothing here can parse.
    UnknownLink(i32),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => write!(f, "can't open it: {error}"),
            Self::Read(error) => write!(f, "reading failed: {error}"),
            Self::Empty => f.write_str("the file is empty: not even a file header"),
            Self::NotACapture => f.write_str(
                "neither pcap nor pcapng (plain, gzip or zstd): \
                 convert it, for example with `editcap`",
            ),
            Self::Modified => f.write_str(
                "it is \"modified\" pcap (0xa1b2cd34) with the high byte first: convert it, \
                 `editcap -F pcap OLD NEW`",
            ),
            Self::Cut => f.write_str("the file ends inside a packet: it was cut off"),
            Self::Damaged(what) => write!(f, "the file is damaged: {what}"),
            Self::UnknownLink(link) => write!(
                f,
                "link type {link} is not supported (supported: Ethernet 1, raw IP 101, 228 and \
                 229, null 0, loop 108, Linux cooked 113 and 276)"
            ),
        }
    }
}

impl std::error::Error for FileError {}

/// The error that the input kept; an input cut inside compressed data is a cut file.
pub(super) fn read_failure(progress: &Progress) -> FileError {
    match progress.failure() {
        Some(error) if error.kind() == io::ErrorKind::UnexpectedEof => FileError::Cut,
        Some(error) => FileError::Read(error),
        None => FileError::Read(io::ErrorKind::Other.into()),
    }
}
