//! Writing the state file: every worker adds its flows at its end, one block at a time; then the file
//! takes its place at once and for good, or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use xdpwatch_core::saved::{Saved, V4_WORDS, V6_WORDS};
use xdpwatch_core::watch::Watch;

use super::blocks::{self, BLOCK_MAX, Kind, MAGIC};
use super::{Head, place};

/// Where workers leave their flows.
#[derive(Debug)]
pub struct Saver {
    path: PathBuf,
    draft: Mutex<io::Result<Draft>>,
}

/// The file before it takes its place.
#[derive(Debug)]
struct Draft {
    out: BufWriter<File>,
    v4: Vec<u8>,
    v6: Vec<u8>,
    tuples: u64,
}

impl Saver {
    /// Begins the file beside its place.
    #[must_use]
    pub fn begin(path: &Path, head: &Head) -> Self {
        let draft = Draft::begin(&beside(path), head);
        Self { path: path.to_owned(), draft: Mutex::new(draft) }
    }

    /// Adds a worker's flows.
    pub fn add(&self, watch: &Watch) {
        let mut draft = self.draft.lock().unwrap_or_else(PoisonError::into_inner);
        let mut failure = None;
        if let Ok(draft) = &mut *draft {
            watch.held(|saved| {
                if failure.is_none() {
                    failure = draft.add(saved).err();
                }
            });
        }
        if let Some(failure) = failure {
            let _ = fs::remove_file(beside(&self.path));
            *draft = Err(failure);
        }
    }

    /// Puts the file in its place, and returns how many tuples are in it.
    ///
    /// # Errors
    /// Those of writing, at any time; the file that was there before stays, and so does one that is no
    /// state file.
    pub fn finish(self) -> anyhow::Result<u64> {
        let path = self.path;
        let draft = self.draft.into_inner().unwrap_or_else(PoisonError::into_inner);
        let done = draft.and_then(|draft| {
            let done = draft.finish().and_then(|tuples| {
                check_place(&path)?;
                fs::rename(beside(&path), &path)?;
                sync_folder(&path)?;
                Ok(tuples)
            });
            if done.is_err() {
                let _ = fs::remove_file(beside(&path));
            }
            done
        });
        done.with_context(|| {
            format!(
                "writing the state file {}; make room there, and let xdpwatch write to its folder",
                path.display()
            )
        })
    }
}

impl Draft {
    fn begin(path: &Path, head: &Head) -> io::Result<Self> {
        check_place(path)?;
        // It says who talked to whom.
        let file =
            File::options().write(true).create(true).truncate(true).mode(0o640).open(path)?;
        let mut out = BufWriter::new(file);
        out.write_all(&MAGIC)?;
        blocks::write(&mut out, Kind::Head, head.to_json().to_string().as_bytes())?;
        let [v4, v6] = [0; 2].map(|_| Vec::with_capacity(BLOCK_MAX));
        Ok(Self { out, v4, v6, tuples: 0 })
    }

    fn add(&mut self, saved: &Saved) -> io::Result<()> {
        let words = saved.words();
        let (kind, bytes) = match words.len() {
            V4_WORDS => (Kind::V4, &mut self.v4),
            _ => (Kind::V6, &mut self.v6),
        };
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        self.tuples += 1;
        if bytes.len() + V6_WORDS * 8 > BLOCK_MAX {
            blocks::write(&mut self.out, kind, bytes)?;
            bytes.clear();
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<u64> {
        blocks::write(&mut self.out, Kind::V4, &self.v4)?;
        blocks::write(&mut self.out, Kind::V6, &self.v6)?;
        blocks::write(&mut self.out, Kind::End, &self.tuples.to_le_bytes())?;
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(self.tuples)
    }
}

/// The name that it has until it is whole.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Whether what is there, if anything is, may be written over.
fn check_place(path: &Path) -> io::Result<()> {
    let found = place::open(path);
    found.map(drop).map_err(|refused| io::Error::other(format!("{}: {refused}", path.display())))
}

/// A name is kept for good only when its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
