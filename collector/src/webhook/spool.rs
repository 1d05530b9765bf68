//! One hook's folder: a file for each message that was not delivered yet, written and synced before
//! the first try; a folder `dead` for what the other end refused for good.
//!
//! Removing is not synced: a message that comes back after a power failure is a duplicate with the
//! same id.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::FlockOperation;
use serde_json::json;

use super::message::Message;
use super::queue::Entry;

/// Refused messages kept; older ones are removed.
const DEAD_KEPT: usize = 1000;

/// A folder and the exclusive right to it.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    handle: File,
    next_seq: u64,
    _lock: File,
}

impl Spool {
    /// Opens the folder, makes it if need be, and lists what waits there since earlier runs.
    ///
    /// # Errors
    /// The folder can't be made or read, or another process has it.
    pub fn open(dir: &Path) -> anyhow::Result<(Self, Vec<Entry>)> {
        let say = || format!("webhook spool {}: choose another with --spool-dir", dir.display());
        make_private(dir).and_then(|()| make_private(&dir.join("dead"))).with_context(say)?;
        let lock = File::create(dir.join("lock")).with_context(say)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            anyhow::anyhow!(
                "webhook spool {}: another xdpwatch uses it; give this one its own --spool-dir",
                dir.display()
            )
        })?;
        let handle = File::open(dir).with_context(say)?;
        let mut entries = Vec::new();
        for file in fs::read_dir(dir).with_context(say)? {
            let file = file.with_context(say)?;
            let name = file.file_name().to_string_lossy().into_owned();
            if name.ends_with(".tmp") {
                // Its writing was cut off: it was never counted as spooled.
                let _ = fs::remove_file(file.path());
            } else if let Some(entry) = parse_name(&name) {
                entries
                    .push(Entry { bytes: file.metadata().map_or(0, |data| data.len()), ..entry });
            }
        }
        entries.sort_unstable_by_key(|entry| entry.seq);
        let next_seq = entries.last().map_or(1, |last| last.seq + 1);
        Ok((Self { dir: dir.to_owned(), handle, next_seq, _lock: lock }, entries))
    }

    /// Writes messages; when this returns they survive a power failure.
    ///
    /// # Errors
    /// Those of writing; then none of them counts as spooled.
    pub fn put(&mut self, messages: &[&Message]) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::with_capacity(messages.len());
        let mut files = Vec::with_capacity(messages.len());
        for message in messages {
            let bytes = serde_json::to_vec(message)?;
            let entry = Entry {
                seq: self.next_seq,
                key: message.key.clone(),
                id: message.id.clone(),
                revision: message.revision,
                resolved: message.resolved,
                bytes: bytes.len() as u64,
                attempts: 0,
            };
            self.next_seq += 1;
            let mut file = File::create(self.temporary(&entry))?;
            file.write_all(&bytes)?;
            entries.push(entry);
            files.push(file);
        }
        self.sync(&files)?;
        for entry in &entries {
            fs::rename(self.temporary(entry), self.path(entry))?;
        }
        self.handle.sync_all()?;
        Ok(entries)
    }

    /// One by one where they are few; else the whole file system at once, which is far faster.
    fn sync(&self, files: &[File]) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if files.len() > 2 {
            return Ok(rustix::fs::syncfs(&self.handle)?);
        }
        files.iter().try_for_each(File::sync_all)
    }

    /// Where a message lies.
    #[must_use]
    pub fn path(&self, entry: &Entry) -> PathBuf {
        self.dir.join(name(entry))
    }

    fn temporary(&self, entry: &Entry) -> PathBuf {
        self.dir.join(format!("{}.tmp", name(entry)))
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Reads a message.
///
/// # Errors
/// It can't be read or is damaged.
pub fn read(path: &Path) -> io::Result<Message> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// Puts a message that won't be tried again into `dead`, with the reason.
///
/// # Errors
/// Those of writing; then the message stays where it is.
pub fn bury(path: &Path, reason: &str) -> io::Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let dead = dir.join("dead");
    let bytes = fs::read(path)?;
    let message =
        serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes)));
    let letter = json!({ "reason": reason, "message": message });
    let mut file = File::create(dead.join(name))?;
    file.write_all(format!("{letter:#}\n").as_bytes())?;
    file.sync_all()?;
    File::open(&dead)?.sync_all()?;
    fs::remove_file(path)?;
    let mut letters: Vec<_> =
        fs::read_dir(&dead)?.filter_map(|file| Some(file.ok()?.path())).collect();
    letters.sort_unstable();
    let surplus = letters.len().saturating_sub(DEAD_KEPT);
    letters[..surplus].iter().try_for_each(fs::remove_file)
}

/// `SEQ.KEY.REVISION.STATE.ID.json`: all that order and room need is in the name.
#[must_use]
pub fn name(entry: &Entry) -> String {
    let Entry { seq, key, id, revision, resolved, .. } = entry;
    let state = if *resolved { "resolved" } else { "firing" };
    format!("{seq:020}.{key}.{revision}.{state}.{id}.json")
}

fn parse_name(name: &str) -> Option<Entry> {
    let mut parts = name.strip_suffix(".json")?.splitn(5, '.');
    Some(Entry {
        seq: parts.next()?.parse().ok()?,
        key: parts.next()?.to_owned(),
        revision: parts.next()?.parse().ok()?,
        resolved: parts.next()? == "resolved",
        id: parts.next()?.to_owned(),
        bytes: 0,
        attempts: 0,
    })
}

/// Makes a folder. Alerts name a network's hosts: nobody else reads them.
///
/// # Errors
/// Those of the disk.
pub fn make_private(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(n: u64, resolved: bool) -> Message {
        Message {
            id: format!("msg_{n}"),
            key: "key".to_owned(),
            revision: n,
            resolved,
            event: serde_json::Map::new(),
        }
    }

    #[test]
    fn what_was_put_is_there_after_a_restart_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let (mut spool, waiting) = Spool::open(dir.path()).unwrap();
        assert!(waiting.is_empty());
        let many: Vec<_> = (1..=5).map(|n| message(n, n == 5)).collect();
        let mut put = spool.put(&many.iter().collect::<Vec<_>>()).unwrap();
        put.extend(spool.put(&[&message(6, false)]).unwrap());
        let error = Spool::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("another xdpwatch") && error.contains("--spool-dir"), "{error}");
        drop(spool);
        // A file whose writing was cut off.
        fs::write(dir.path().join("00000000000000000009.k.1.firing.m.json.tmp"), "{").unwrap();
        let (mut spool, waiting) = Spool::open(dir.path()).unwrap();
        assert_eq!(waiting, put);
        assert_eq!(read(&spool.path(&waiting[4])).unwrap().revision, 5);
        assert_eq!(spool.put(&[&message(7, false)]).unwrap()[0].seq, 7);
    }

    #[test]
    fn the_buried_carry_the_reason_and_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let (mut spool, _) = Spool::open(dir.path()).unwrap();
        let put = spool.put(&[&message(1, false), &message(2, true)]).unwrap();
        bury(&spool.path(&put[0]), "status 400").unwrap();
        // Not even UTF-8.
        fs::write(spool.path(&put[1]), b"damaged \xff\x00\x9b").unwrap();
        bury(&spool.path(&put[1]), "damaged").unwrap();
        let letters = fs::read_dir(dir.path().join("dead")).unwrap();
        let text: Vec<_> =
            letters.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
        assert_eq!(text.len(), 2);
        assert!(text.iter().any(|text| text.contains("status 400") && text.contains("msg_1")));
        assert!(text.iter().any(|text| text.contains("\"damaged \u{fffd}")), "{text:?}");
        for n in 0..DEAD_KEPT {
            fs::write(dir.path().join(format!("dead/0-{n:05}")), "x").unwrap();
        }
        let put = spool.put(&[&message(3, false)]).unwrap();
        bury(&spool.path(&put[0]), "status 400").unwrap();
        assert_eq!(fs::read_dir(dir.path().join("dead")).unwrap().count(), DEAD_KEPT);
    }
}
