//! Selected headers into a pcapng file (`-w`): copied into a bounded queue by the workers, written by
//! a thread of its own, so that a slow disk costs headers in the file and nothing else.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use crossbeam::queue::ArrayQueue;
use tracing::error;
use xdpwatch_prog::maps::HEADERS_MAX;
use xdpwatch_prog::wire::Link;

use crate::pcapng;

/// Headers that may wait for the disk.
const PLACES: usize = 1 << 14;

/// How long the writer rests when nothing waits; what waits longer than that is in order of time.
const PAUSE: Duration = Duration::from_millis(20);

/// One frame's headers.
#[derive(Clone, Debug)]
struct Header {
    interface: u8,
    at_ns: u64,
    frame_len: u32,
    len: u16,
    bytes: [u8; HEADERS_MAX],
}

impl Header {
    fn packet(&self) -> pcapng::Packet<'_> {
        pcapng::Packet {
            interface: self.interface.into(),
            at_ns: self.at_ns,
            frame_len: self.frame_len,
            bytes: &self.bytes[..usize::from(self.len)],
            comment: "",
        }
    }
}

/// What workers and writer share.
#[derive(Debug)]
pub struct Headers {
    queue: ArrayQueue<Header>,
    lost: AtomicU64,
    end: AtomicBool,
}

impl Headers {
    /// Copies a frame's headers, or counts them as lost.
    pub fn put(&self, interface: u8, at_ns: u64, frame_len: u32, frame: &[u8]) {
        let kept = &frame[..frame.len().min(HEADERS_MAX)];
        let mut bytes = [0; HEADERS_MAX];
        bytes[..kept.len()].copy_from_slice(kept);
        let header = Header { interface, at_ns, frame_len, len: kept.len() as u16, bytes };
        if self.queue.push(header).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Headers lost.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// The file being written; ends with [`Writer::close`].
#[derive(Debug)]
pub struct Writer {
    headers: Arc<Headers>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Writer {
    /// Creates the file, with these interfaces, and starts its thread.
    ///
    /// # Errors
    /// The file can't be created.
    pub fn create<'a>(
        path: &Path,
        interfaces: impl Iterator<Item = &'a str>,
    ) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
        let mut out = BufWriter::new(file);
        write_heads(&mut out, interfaces)
            .with_context(|| format!("writing to {}", path.display()))?;
        let headers = Arc::new(Headers {
            queue: ArrayQueue::new(PLACES),
            lost: AtomicU64::new(0),
            end: AtomicBool::new(false),
        });
        let shared = Arc::clone(&headers);
        let shown = path.display().to_string();
        let run = move || {
            let written = write_headers(&mut out, &shared);
            // At the end it is said by whoever closes the file.
            if let Err(error) = &written
                && !shared.end.load(Ordering::Acquire)
            {
                error!("no more headers go into {shown} (-w): {error}; make room and start again");
            }
            written
        };
        let thread = thread::Builder::new().name("write".to_owned()).spawn(run)?;
        Ok(Self { headers, thread: Some(thread) })
    }

    /// What the workers put headers into.
    pub fn headers(&self) -> Arc<Headers> {
        Arc::clone(&self.headers)
    }

    /// Writes what waits and closes the file.
    ///
    /// # Errors
    /// Those of writing at any time.
    pub fn close(&mut self) -> io::Result<()> {
        self.headers.end.store(true, Ordering::Release);
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("the writing thread failed")),
        }
    }
}

fn write_heads<'a>(
    out: &mut impl Write,
    mut interfaces: impl Iterator<Item = &'a str>,
) -> io::Result<()> {
    pcapng::write_section(out, "")?;
    interfaces.try_for_each(|name| pcapng::write_interface(out, Link::Ethernet, name, HEADERS_MAX))
}

fn write_headers(out: &mut impl Write, headers: &Headers) -> io::Result<()> {
    let mut round = Vec::with_capacity(PLACES);
    loop {
        let is_last = headers.end.load(Ordering::Acquire);
        round.extend(std::iter::from_fn(|| headers.queue.pop()).take(PLACES));
        round.sort_by_key(|header| header.at_ns);
        for header in round.drain(..) {
            pcapng::write_packet(out, &header.packet())?;
        }
        if is_last && headers.queue.is_empty() {
            return out.flush();
        }
        out.flush()?;
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::file::CaptureFile;

    #[test]
    fn what_is_written_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.pcapng");
        let mut writer = Writer::create(&path, ["mirror0", "mirror1"].into_iter()).unwrap();
        let headers = writer.headers();
        headers.put(1, 1_700_000_000_000_000_002, 1514, &[7; 54]);
        headers.put(0, 1_700_000_000_000_000_001, 60, &[8; 60]);
        writer.close().unwrap();
        let mut file = CaptureFile::open(&path).unwrap();
        let mut seen = Vec::new();
        let mut take = |packet: crate::capture::file::Packet<'_>| {
            seen.push((packet.at_ns, packet.frame_len, packet.bytes.to_vec()));
        };
        while file.some(64, &mut take).unwrap() > 0 {}
        assert_eq!(seen[0], (1_700_000_000_000_000_001, 60, vec![8; 60]));
        assert_eq!(seen[1], (1_700_000_000_000_000_002, 1514, vec![7; 54]));
        assert_eq!(seen.len(), 2);
    }
}
