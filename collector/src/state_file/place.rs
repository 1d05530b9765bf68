//! Where a state file may lie: where there is nothing yet, an empty file, or a state file. Whatever else is
//! there is somebody's: it is neither read nor renamed nor written over.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use super::Refused;
use super::blocks::MAGIC;

/// Opens the state file that is there, and reads its magic number; `None` if there is none.
///
/// # Errors
/// What is there is something else, or can't be looked at.
pub fn open(path: &Path) -> Result<Option<File>, Refused> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Refused::Unreadable(error)),
    };
    if metadata.is_dir() {
        return Err(Refused::Foreign("it is a folder; give the name of a file in it"));
    }
    if !metadata.is_file() {
        return Err(Refused::Foreign("it is no regular file; give another name"));
    }
    if metadata.len() == 0 {
        return Ok(None);
    }
    // It may have become a FIFO by now, which would wait for whoever writes to it.
    let flags = OFlags::NONBLOCK.bits() as i32;
    let opened = File::options().read(true).custom_flags(flags).open(path);
    let mut file = opened.map_err(Refused::Unreadable)?;
    let mut magic = [0; MAGIC.len()];
    match file.read_exact(&mut magic) {
        Ok(()) if magic == MAGIC => Ok(Some(file)),
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            Err(Refused::Unreadable(error))
        }
        _ => Err(Refused::Foreign("it is no state file of xdpwatch; give another name")),
    }
}

/// What is wrong with keeping tuples there, if that shows without the rights to read it.
#[must_use]
pub fn misuse(path: &Path) -> Option<String> {
    match open(path) {
        Err(refused @ Refused::Foreign(_)) => {
            Some(format!("--state-file {}: {refused}", path.display()))
        }
        _ => None,
    }
}
