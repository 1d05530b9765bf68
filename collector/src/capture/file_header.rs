//! The first bytes of a capture file: which format it is, and the reader for it.

use std::io::{Cursor, Read};

use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{LegacyPcapReader, PcapNGReader};

use super::file_error::{FileError, read_failure};
use super::input::Progress;

/// Bytes buffered at first; longer packets make the buffer grow.
pub(super) const BUFFER_BYTES: usize = 256 << 10;

/// A pcapng section header longer than this is taken for damage.
const SECTION_HEADER_BYTES_MAX: u32 = 1 << 20;

/// Magic number of a format that the reader knows in the other byte order only.
const MODIFIED_BIG_ENDIAN: [u8; 4] = [0xa1, 0xb2, 0xcd, 0x34];

/// Reads the file header and makes the reader for it.
pub(super) fn reader(
    mut bytes: Box<dyn Read + Send>,
    progress: &Progress,
) -> Result<Box<dyn PcapReaderIterator + Send>, FileError> {
    let mut head = Vec::with_capacity(64);
    let mut want = |head: &mut Vec<u8>, len: u64| {
        let missing = len.saturating_sub(head.len() as u64);
        match bytes.by_ref().take(missing).read_to_end(head) {
            Ok(read) if read as u64 == missing => Ok(()),
            Ok(_) if head.is_empty() => Err(FileError::Empty),
            Ok(_) => Err(FileError::Cut),
            Err(_) => Err(read_failure(progress)),
        }
    };
    want(&mut head, 4)?;
    let is_pcapng = head == [0x0a, 0x0d, 0x0d, 0x0a];
    if is_pcapng {
        want(&mut head, 12)?;
        let len = [head[4], head[5], head[6], head[7]];
        let len = match head[8..12] {
            [0x4d, 0x3c, 0x2b, 0x1a] => u32::from_le_bytes(len),
            [0x1a, 0x2b, 0x3c, 0x4d] => u32::from_be_bytes(len),
            _ => return Err(FileError::Damaged("no byte order in the section header")),
        };
        if !(28..=SECTION_HEADER_BYTES_MAX).contains(&len) {
            return Err(FileError::Damaged("the section header has an impossible length"));
        }
        want(&mut head, len.into())?;
    } else if is_pcap_magic(&head) {
        want(&mut head, 24)?;
    } else if head == MODIFIED_BIG_ENDIAN {
        return Err(FileError::Modified);
    } else {
        return Err(FileError::NotACapture);
    }
    let capacity = BUFFER_BYTES.max(2 * head.len());
    let bytes = Cursor::new(head).chain(bytes);
    let refused = |_| FileError::Damaged("the file header contradicts itself");
    Ok(if is_pcapng {
        Box::new(PcapNGReader::new(capacity, bytes).map_err(refused)?)
    } else {
        Box::new(LegacyPcapReader::new(capacity, bytes).map_err(refused)?)
    })
}

/// Micro- and nanosecond files in both byte orders, and the "modified" format of old Linux systems.
fn is_pcap_magic(head: &[u8]) -> bool {
    matches!(
        head,
        [0xa1, 0xb2, 0xc3, 0xd4]
            | [0xd4, 0xc3, 0xb2, 0xa1]
            | [0xa1, 0xb2, 0x3c, 0x4d]
            | [0x4d, 0x3c, 0xb2, 0xa1]
            | [0x34, 0xcd, 0xb2, 0xa1]
    )
}
