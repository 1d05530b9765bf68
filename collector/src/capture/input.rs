//! Bytes of a capture file: from a path or standard input, gzip and zstd told by their magic
//! numbers and unpacked on the way. Knows nothing of packets.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use flate2::bufread::GzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// First bytes of a gzip member (RFC 1952, 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// First bytes of a zstd frame (RFC 8878, 3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// What is known of an input besides its bytes; shared with whoever reads them.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    taken: Arc<AtomicU64>,
    failure: Arc<Mutex<Option<io::Error>>>,
    /// Bytes of the file as it lies on disk, if it is a regular file.
    pub size: Option<u64>,
}

impl Progress {
    /// Bytes read so far, before unpacking.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// The read error that ended the input, if one did; it is handed out once.
    #[must_use]
    pub fn failure(&self) -> Option<io::Error> {
        self.failure.lock().ok().and_then(|mut failure| failure.take())
    }
}

/// A source whose bytes are counted.
struct Counted<R> {
    inner: R,
    progress: Progress,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.progress.taken.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// A source whose last error is kept: the pcap reader only passes on that there was one.
struct Recorded<R> {
    inner: R,
    progress: Progress,
}

impl<R: Read> Read for Recorded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.inner.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let kind = error.kind();
                    if let Ok(mut failure) = self.progress.failure.lock() {
                        *failure = Some(error);
                    }
                    return Err(kind.into());
                }
                Ok(read) => return Ok(read),
            }
        }
    }
}

/// Opens `path`, or standard input for `-`.
///
/// # Errors
/// Those of opening and of reading the first bytes.
pub fn open(path: &Path) -> io::Result<(Box<dyn Read + Send>, Progress)> {
    if path.as_os_str() == "-" {
        return unpack(io::stdin(), Progress::default());
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let size = metadata.is_file().then_some(metadata.len());
    unpack(file, Progress { size, ..Progress::default() })
}

fn unpack<R: Read + Send + 'static>(
    source: R,
    progress: Progress,
) -> io::Result<(Box<dyn Read + Send>, Progress)> {
    let mut source = Counted { inner: source, progress: progress.clone() };
    let mut magic = Vec::with_capacity(ZSTD_MAGIC.len());
    source.by_ref().take(ZSTD_MAGIC.len() as u64).read_to_end(&mut magic)?;
    let is_gzip = magic.starts_with(&GZIP_MAGIC);
    let is_zstd = magic.starts_with(&ZSTD_MAGIC);
    let source = Cursor::new(magic).chain(source);
    let bytes: Box<dyn Read + Send> = if is_gzip {
        let inner = GzipMembers::new(source, progress.clone());
        Box::new(Recorded { inner, progress: progress.clone() })
    } else if is_zstd {
        let inner = ZstdFrames::new(source);
        Box::new(Recorded { inner, progress: progress.clone() })
    } else {
        Box::new(Recorded { inner: source, progress: progress.clone() })
    };
    Ok((bytes, progress))
}

/// gzip data: one member after another (appended files, parallel compressors), zeros behind them skipped
/// as gzip itself does.
struct GzipMembers<R> {
    /// `None` at the end.
    decoder: Option<GzDecoder<BufReader<R>>>,
    progress: Progress,
}

impl<R: Read> GzipMembers<R> {
    fn new(source: R, progress: Progress) -> Self {
        Self { decoder: Some(GzDecoder::new(BufReader::new(source))), progress }
    }

    /// What follows the end of a member.
    fn next(&self, mut source: BufReader<R>) -> io::Result<Option<GzDecoder<BufReader<R>>>> {
        loop {
            let rest = source.fill_buf()?;
            let zeros = rest.iter().take_while(|byte| **byte == 0).count();
            match rest.first() {
                None => return Ok(None),
                Some(first) if *first == GZIP_MAGIC[0] => return Ok(Some(GzDecoder::new(source))),
                Some(0) => source.consume(zeros),
                Some(_) => {
                    let place = self.progress.taken() - rest.len() as u64;
                    let what = format!(
                        "trailing junk, no gzip data, from byte {place} of the file on; all before it \
                         was read"
                    );
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
            }
        }
    }
}

impl<R: Read> Read for GzipMembers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.decoder {
            let read = decoder.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let ended = self.decoder.take().map(GzDecoder::into_inner);
            self.decoder = ended.map(|source| self.next(source)).transpose()?.flatten();
        }
        Ok(0)
    }
}

/// zstd data: one frame after another (parallel compressors write several), padding skipped.
struct ZstdFrames<R> {
    source: BufReader<R>,
    decoder: FrameDecoder,
    inside: bool,
}

impl<R: Read> ZstdFrames<R> {
    fn new(source: R) -> Self {
        Self { source: BufReader::new(source), decoder: FrameDecoder::new(), inside: false }
    }

    /// Enters the next frame; false at the end of the data.
    fn enter(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.source) {
                Ok(()) => {
                    self.inside = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    io::copy(&mut self.source.by_ref().take(length.into()), &mut io::sink())?;
                }
                Err(error) => return Err(self.failure(error)),
            }
        }
        Ok(false)
    }

    /// What fails where the data ends is not damaged but cut off.
    fn failure(&mut self, error: FrameDecoderError) -> io::Error {
        match self.source.fill_buf() {
            Ok([]) => io::ErrorKind::UnexpectedEof.into(),
            _ => io::Error::new(io::ErrorKind::InvalidData, error),
        }
    }
}

impl<R: Read> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !buffer.is_empty() {
            if !self.inside && !self.enter()? {
                return Ok(0);
            }
            if self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let wanted = BlockDecodingStrategy::UptoBytes(buffer.len());
                let decoded = self.decoder.decode_blocks(&mut self.source, wanted);
                decoded.map_err(|error| self.failure(error))?;
            }
            let read = self.decoder.read(buffer)?;
            if read > 0 {
                return Ok(read);
            }
            self.inside = !self.decoder.is_finished();
        }
        Ok(0)
    }
}
