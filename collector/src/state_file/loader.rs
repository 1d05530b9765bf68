//! Reading the state file: the whole of it is checked before the first flow is taken in. One that is
//! damaged or of another version is kept aside, and the start goes on without it; what is no state file at all
//! is left alone.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use xdpwatch_core::saved::{self, Saved, V4_WORDS, V6_WORDS};

use super::blocks::{self, BLOCK_MAX, Kind, MAGIC};
use super::{Head, VERSION, place};

/// Why a file is not read.
#[derive(Debug)]
pub enum Refused {
    /// It can't be read at all.
    Unreadable(io::Error),
    /// There is something else in its place; it was left alone.
    Foreign(&'static str),
    /// It is not what it should be; it was renamed to this.
    KeptAside(String, PathBuf),
    /// It is older than it may be.
    TooOld(Duration),
    /// It was written with other options.
    Other(&'static str),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "it can't be read: {error}"),
            Self::KeptAside(why, path) => write!(f, "{why}; it was renamed to {}", path.display()),
            Self::TooOld(age) => {
                write!(f, "it is {} s old; see --state-max-age", age.as_secs())
            }
            Self::Foreign(what) | Self::Other(what) => f.write_str(what),
        }
    }
}

/// A file that was found good.
#[derive(Debug)]
pub struct Loaded {
    /// What it is to be read with.
    pub head: Head,
    input: BufReader<File>,
    bytes: Vec<u8>,
}

/// Opens and checks a file; `None` if there is none. `age` says how old one is, or that its time is to
/// come: after a step of the clock.
///
/// # Errors
/// Why it is not read.
pub fn load(
    path: &Path,
    vlan_key: bool,
    max_age: Duration,
    age: impl Fn(&Head) -> Duration,
) -> Result<Option<Loaded>, Refused> {
    let Some(file) = place::open(path)? else { return Ok(None) };
    let mut input = BufReader::with_capacity(BLOCK_MAX, file);
    let head = match check(&mut input) {
        Ok(head) => head,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(keep_aside(path, &error.to_string()));
        }
        Err(error) => return Err(Refused::Unreadable(error)),
    };
    let age = age(&head);
    if age > max_age {
        return Err(Refused::TooOld(age));
    }
    if head.vlan_key != vlan_key {
        return Err(Refused::Other("its tuples were made with another --vlan-key"));
    }
    input.rewind().map_err(Refused::Unreadable)?;
    Ok(Some(Loaded { head, input, bytes: Vec::new() }))
}

impl Loaded {
    /// Hands every flow to `take`, its times moved by `later_ns`.
    ///
    /// # Errors
    /// Those of reading.
    pub fn each(mut self, later_ns: i64, mut take: impl FnMut(&Saved)) -> io::Result<()> {
        let Self { head, input, bytes } = &mut self;
        input.read_exact(&mut [0; MAGIC.len()])?;
        loop {
            let words = match blocks::read(input, bytes)? {
                Kind::Head => continue,
                Kind::End => return Ok(()),
                Kind::V4 => V4_WORDS,
                Kind::V6 => V6_WORDS,
            };
            for entry in bytes.chunks_exact(words * 8) {
                let mut read = [0; V6_WORDS];
                for (word, bytes) in read.iter_mut().zip(entry.as_chunks::<8>().0) {
                    *word = u64::from_le_bytes(*bytes);
                }
                if let Some(saved) = Saved::of_words(&read[..words], head.written_ns, later_ns) {
                    take(&saved);
                }
            }
        }
    }
}

/// Reads the whole file, from behind the magic number, and says whether all of it is there.
fn check(input: &mut BufReader<File>) -> io::Result<Head> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut bytes = Vec::with_capacity(BLOCK_MAX);
    if blocks::read(input, &mut bytes)? != Kind::Head {
        return Err(invalid("its head is missing".to_owned()));
    }
    let head = read_head(&bytes).map_err(invalid)?;
    let mut tuples = 0;
    loop {
        let words = match blocks::read(input, &mut bytes)? {
            Kind::Head => return Err(invalid("it has two heads".to_owned())),
            Kind::End => break,
            Kind::V4 => V4_WORDS,
            Kind::V6 => V6_WORDS,
        };
        if !bytes.len().is_multiple_of(words * 8) {
            return Err(invalid("a block is cut".to_owned()));
        }
        tuples += (bytes.len() / (words * 8)) as u64;
    }
    if bytes != tuples.to_le_bytes() || input.read(&mut [0])? > 0 {
        return Err(invalid("it is not as long as it says".to_owned()));
    }
    Ok(head)
}

fn read_head(bytes: &[u8]) -> Result<Head, String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|_| "its head is damaged")?;
    let head = value.as_object().ok_or("its head is damaged")?;
    let versions = ["version", "words"].map(|key| head.get(key).and_then(Value::as_u64));
    if versions != [Some(VERSION), Some(saved::VERSION.into())] {
        return Err("it was written by another version of xdpwatch".to_owned());
    }
    Head::of_json(head).ok_or_else(|| "its head is damaged".to_owned())
}

/// Out of the way of the next file, and kept for whoever wants to know what happened to it.
fn keep_aside(path: &Path, why: &str) -> Refused {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".damaged-{}", now.unwrap_or_default().as_secs()));
    let aside = PathBuf::from(name);
    match fs::rename(path, &aside) {
        Ok(()) => Refused::KeptAside(why.to_owned(), aside),
        Err(error) => Refused::Unreadable(error),
    }
}
