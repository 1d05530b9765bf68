//! The folder of evidence files: each written whole or not at all, the oldest removed when there are
//! too many, too many bytes, or when they are too old. Other files in it are left alone.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Files.
    pub files: usize,
    /// Bytes of all files together.
    pub bytes: u64,
    /// Since a file was last written.
    pub age: Duration,
}

/// A file of the folder.
#[derive(Debug)]
struct Entry {
    id: u64,
    bytes: u64,
    written: SystemTime,
}

/// The folder.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    /// How much is kept; may be changed at any time.
    pub limits: Limits,
    /// Oldest first.
    entries: VecDeque<Entry>,
    bytes: u64,
}

/// The file of the alert with this id.
#[must_use]
pub fn file_name(id: u64) -> String {
    format!("{id:016x}.pcapng")
}

/// The id that a file name stands for, if it is one of ours.
#[must_use]
pub fn id_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".pcapng")?;
    let id = u64::from_str_radix(digits, 16).ok()?;
    (file_name(id) == name).then_some(id)
}

impl Store {
    /// Opens the folder, makes it if it is not there, and takes stock.
    ///
    /// # Errors
    /// The folder can't be made or read, or nothing can be written into it.
    pub fn open(folder: &Path, limits: Limits) -> anyhow::Result<Self> {
        let what = || {
            format!(
                "--evidence-dir {}: give a folder that this user may write to",
                folder.display()
            )
        };
        fs::create_dir_all(folder).with_context(what)?;
        let probe = folder.join(".xdpwatch.tmp");
        File::create(&probe).and_then(|_| fs::remove_file(&probe)).with_context(what)?;
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder).with_context(what)? {
            let entry = entry.with_context(what)?;
            let Some(id) = entry.file_name().to_str().and_then(id_of) else { continue };
            // A file that has gone meanwhile needs no place.
            let Ok(metadata) = entry.metadata() else { continue };
            let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            entries.push(Entry { id, bytes: metadata.len(), written });
        }
        entries.sort_by_key(|entry| (entry.written, entry.id));
        let bytes = entries.iter().map(|entry| entry.bytes).sum();
        Ok(Self { folder: folder.to_owned(), limits, entries: entries.into(), bytes })
    }

    /// Files and bytes kept now.
    #[must_use]
    pub fn kept(&self) -> (u64, u64) {
        (self.entries.len() as u64, self.bytes)
    }

    /// Writes an alert's file in place of its earlier version, and removes what is too much; returns
    /// how many files that were.
    ///
    /// # Errors
    /// Those of writing; the earlier version is then as it was.
    pub fn put(&mut self, id: u64, content: &[u8], now: SystemTime) -> io::Result<u64> {
        let path = self.folder.join(file_name(id));
        let unfinished = self.folder.join(format!(".{}.tmp", file_name(id)));
        let written = File::create(&unfinished)
            .and_then(|mut file| file.write_all(content))
            .and_then(|()| fs::rename(&unfinished, &path));
        if let Err(error) = written {
            let _ = fs::remove_file(&unfinished);
            return Err(error);
        }
        if let Some(place) = self.entries.iter().position(|entry| entry.id == id) {
            self.bytes -= self.entries.remove(place).map_or(0, |entry| entry.bytes);
        }
        let bytes = content.len() as u64;
        self.bytes += bytes;
        self.entries.push_back(Entry { id, bytes, written: now });
        Ok(self.tidy(now))
    }

    /// Removes what is too much or too old; returns how many files that were.
    pub fn tidy(&mut self, now: SystemTime) -> u64 {
        let mut removed = 0;
        while let Some(oldest) = self.entries.front() {
            let age = now.duration_since(oldest.written).unwrap_or_default();
            let too_much = self.entries.len() > self.limits.files || self.bytes > self.limits.bytes;
            if !too_much && age <= self.limits.age {
                break;
            }
            // One that can't be removed is forgotten all the same, or nothing newer would be.
            let _ = fs::remove_file(self.folder.join(file_name(oldest.id)));
            self.bytes -= oldest.bytes;
            self.entries.pop_front();
            removed += 1;
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn store(folder: &Path, files: usize, bytes: u64) -> Store {
        Store::open(folder, Limits { files, bytes, age: 10 * SECOND }).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_oldest_go_first_and_strangers_stay() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("notes.txt"), "mine").unwrap();
        let mut store = store(dir.path(), 2, 1000);
        let now = SystemTime::now();
        assert_eq!(store.put(1, &[0; 10], now).unwrap(), 0);
        assert_eq!(store.put(2, &[0; 10], now + SECOND).unwrap(), 0);
        assert_eq!(store.put(1, &[0; 20], now + 2 * SECOND).unwrap(), 0, "a new version");
        assert_eq!(store.put(3, &[0; 10], now + 3 * SECOND).unwrap(), 1);
        assert_eq!(names(dir.path()), [file_name(1), file_name(3), "notes.txt".to_owned()]);
        assert_eq!(store.kept(), (2, 30));
        assert_eq!(store.tidy(now + 13 * SECOND), 1, "by age");
        assert_eq!(names(dir.path()), [file_name(3), "notes.txt".to_owned()]);
    }

    #[test]
    fn bytes_are_bounded_and_counted_again_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let mut first = store(dir.path(), 10, 100);
        for id in 1..=3 {
            first.put(id, &[0; 40], now).unwrap();
        }
        assert_eq!(first.kept(), (2, 80));
        let mut second = store(dir.path(), 10, 100);
        assert_eq!(second.kept(), (2, 80));
        assert_eq!(second.put(4, &[0; 40], now).unwrap(), 1);
    }

    #[test]
    fn a_folder_that_cannot_be_is_refused_with_the_cure() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let limits = Limits { files: 1, bytes: 1, age: SECOND };
        let error = format!("{:#}", Store::open(&file, limits).unwrap_err());
        assert!(error.contains("give a folder that this user may write to"), "{error}");
    }
}
