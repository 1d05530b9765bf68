//! Writes capture files: classic pcap, nanoseconds, Ethernet.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Magic number of nanosecond pcap in the writer's byte order.
const MAGIC_NS: u32 = 0xa1b2_3c4d;

const ETHERNET: u32 = 1;

/// Writes frames with their times, nanoseconds since the Unix epoch.
///
/// # Errors
/// Those of writing the file.
pub fn write(
    path: &Path,
    frames: impl IntoIterator<Item = (u64, impl AsRef<[u8]>)>,
) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&MAGIC_NS.to_ne_bytes())?;
    for number in [0x0004_0002u32, 0, 0, 65_536, ETHERNET] {
        file.write_all(&number.to_ne_bytes())?;
    }
    for (at_ns, frame) in frames {
        let frame = frame.as_ref();
        let len = frame.len() as u32;
        let seconds = (at_ns / 1_000_000_000) as u32;
        for number in [seconds, (at_ns % 1_000_000_000) as u32, len, len] {
            file.write_all(&number.to_ne_bytes())?;
        }
        file.write_all(frame)?;
    }
    file.flush()
}
