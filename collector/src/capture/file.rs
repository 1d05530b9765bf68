//! Packets of a capture file: pcap and pcapng, whatever byte order, resolution and link types they
//! have. It does not parse the packets, and it does not judge the order of their times.

use std::path::{Path, PathBuf};

use pcap_parser::pcapng::Block;
use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{OptionCode, PcapBlockOwned, PcapError, PcapNGOption};
use xdpwatch_prog::wire::Link;

pub use super::file_error::FileError;
use super::file_error::read_failure;
use super::file_header::{BUFFER_BYTES, reader};
use super::input::{self, Progress};
use super::records::Layout;
use super::timescale::Timescale;

/// A packet or block that claims to be longer than this is taken for damage.
const BLOCK_BYTES_MAX: usize = 64 << 20;

/// One packet as it lies in a file.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// What the first byte belongs to.
    pub link: Link,
    /// When it was captured, nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// Bytes it had on the wire.
    pub frame_len: u32,
    /// The bytes that were captured of it.
    pub bytes: &'a [u8],
}

/// One interface of a file: how its packets begin and what their times mean.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: Result<Link, i32>,
    time: Timescale,
    snaplen: u32,
}

/// A capture file being read.
pub struct CaptureFile {
    /// The name it was opened by.
    pub path: PathBuf,
    reader: Box<dyn PcapReaderIterator + Send>,
    progress: Progress,
    interfaces: Vec<Interface>,
    layout: Layout,
    counts: Counts,
}

/// What was read of a file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Packets handed out.
    pub packets: u64,
    /// Packets of which bytes are missing (snap length).
    pub cut_packets: u64,
    /// Packets left out because their interface's link type is not supported.
    pub unknown_link: u64,
    /// The link type of the first such packet.
    pub first_unknown_link: Option<i32>,
    /// Packets without a time (simple packet blocks): they got that of the packet before.
    pub timeless: u64,
    /// Time of the last packet, nanoseconds since the Unix epoch; 0 before the first.
    pub last_ns: u64,
    /// When the capture ended, if the file says so (pcapng's isb_endtime): past its last packet nothing
    /// came until then.
    pub end_ns: u64,
}

impl CaptureFile {
    /// Opens a file, or standard input for `-`.
    ///
    /// # Errors
    /// [`FileError::Open`], [`FileError::Empty`], [`FileError::NotACapture`], [`FileError::Cut`].
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let (bytes, progress) = input::open(path).map_err(FileError::Open)?;
        let reader = reader(bytes, &progress)?;
        Ok(Self {
            path: path.to_owned(),
            reader,
            progress,
            interfaces: Vec::new(),
            layout: Layout::Unknown,
            counts: Counts::default(),
        })
    }

    /// What was read so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How far the input has been read.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Hands up to `max` packets to `take`: the next, and those that lie ready behind it. Returns how
    /// many; 0 when the file is over.
    ///
    /// # Errors
    /// Any [`FileError`]; after one, there is nothing more to read.
    pub fn some(
        &mut self,
        max: usize,
        take: &mut impl FnMut(Packet<'_>),
    ) -> Result<usize, FileError> {
        let ready = self.ready(max, take);
        if ready == 0 && self.next(take)? { Ok(1 + self.ready(max - 1, take)) } else { Ok(ready) }
    }

    /// Hands on packets that lie in the buffer as a whole.
    fn ready(&mut self, max: usize, take: &mut impl FnMut(Packet<'_>)) -> usize {
        let Self { reader, interfaces, layout, counts, .. } = self;
        let data = reader.data();
        let (mut at, mut taken) = (0, 0);
        while taken < max {
            let Some(raw) = layout.packet(&data[at..]) else { break };
            let Some(interface) = interfaces.get(raw.interface as usize) else { break };
            let at_ns = interface.time.at_ns(raw.seconds.into(), raw.ticks);
            at += raw.len;
            let packet = interface.packet(Some(at_ns), raw.frame_len, raw.bytes, counts);
            if let Some(packet) = packet {
                take(packet);
                taken += 1;
            }
        }
        self.reader.consume_noshift(at);
        taken
    }

    /// Hands the next packet to `take`, whatever comes before it; false when the file is over.
    fn next(&mut self, take: &mut impl FnMut(Packet<'_>)) -> Result<bool, FileError> {
        loop {
            let step = match self.reader.next() {
                Ok((len, block)) => {
                    let mut section = Section {
                        interfaces: &mut self.interfaces,
                        layout: &mut self.layout,
                        counts: &mut self.counts,
                    };
                    let taken = section.block(&block, take)?;
                    drop(block);
                    Step::Consume(len, taken)
                }
                Err(PcapError::Eof) => return Ok(false),
                Err(PcapError::UnexpectedEof) => Step::End,
                Err(PcapError::Incomplete(_)) => Step::Refill,
                Err(PcapError::BufferTooSmall) => Step::Grow,
                Err(PcapError::ReadError) => return Err(self.read_failure()),
                Err(_) => return Err(FileError::Damaged("a block's lengths don't agree")),
            };
            match step {
                Step::Consume(len, taken) => {
                    self.reader.consume(len);
                    if taken {
                        return Ok(true);
                    }
                }
                Step::End if self.reader.data().is_empty() => return Ok(false),
                Step::End => return Err(FileError::Cut),
                Step::Refill => self.refill()?,
                Step::Grow => self.grow()?,
            }
        }
    }

    fn refill(&mut self) -> Result<(), FileError> {
        let failed = self.reader.refill().is_err();
        if failed { Err(self.read_failure()) } else { Ok(()) }
    }

    fn grow(&mut self) -> Result<(), FileError> {
        let size = (self.reader.data().len() * 2).max(2 * BUFFER_BYTES);
        if size > BLOCK_BYTES_MAX || !self.reader.grow(size) {
            return Err(FileError::Damaged("a packet claims to be longer than 64 MiB"));
        }
        self.refill()
    }

    fn read_failure(&self) -> FileError {
        read_failure(&self.progress)
    }
}

enum Step {
    Consume(usize, bool),
    Refill,
    Grow,
    End,
}

/// The state of the section being read.
struct Section<'a> {
    interfaces: &'a mut Vec<Interface>,
    layout: &'a mut Layout,
    counts: &'a mut Counts,
}

impl Section<'_> {
    /// Takes one block; true if it was a packet that went to `take`.
    fn block(
        &mut self,
        block: &PcapBlockOwned<'_>,
        take: &mut impl FnMut(Packet<'_>),
    ) -> Result<bool, FileError> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let link = link_of(header.network.0);
                if let Err(link) = link {
                    return Err(FileError::UnknownLink(link));
                }
                let time = Timescale::of_pcap(header.is_nanosecond_precision());
                let big_endian = header.is_bigendian();
                self.interfaces.push(Interface { link, time, snaplen: 0 });
                let header = if header.is_modified_format() { 24 } else { 16 };
                *self.layout = Layout::Pcap { big_endian, header };
                Ok(false)
            }
            PcapBlockOwned::Legacy(packet) => {
                let Some(interface) = self.interfaces.first().copied() else {
                    return Err(FileError::Damaged("a packet before the file header"));
                };
                let at_ns = interface.time.at_ns(packet.ts_sec.into(), packet.ts_usec.into());
                self.packet(interface, Some(at_ns), packet.origlen, packet.data, take)
            }
            PcapBlockOwned::NG(Block::SectionHeader(header)) => {
                self.interfaces.clear();
                *self.layout = Layout::Pcapng { big_endian: header.big_endian() };
                Ok(false)
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                let is_big_endian = self.is_big_endian();
                self.interfaces.push(Interface {
                    link: link_of(interface.linktype.0),
                    time: Timescale::of_interface(&interface.options, is_big_endian)?,
                    snaplen: interface.snaplen,
                });
                Ok(false)
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let interface = self.interface(packet.if_id)?;
                let ticks = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                let at_ns = interface.time.at_ns(0, ticks);
                self.packet(interface, Some(at_ns), packet.origlen, packet.packet_data(), take)
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                let interface = self.interface(0)?;
                let data = packet.packet_data();
                let captured = match interface.snaplen {
                    0 => data.len(),
                    snaplen => data.len().min(usize::try_from(snaplen).unwrap_or(usize::MAX)),
                };
                self.packet(interface, None, packet.origlen, &data[..captured], take)
            }
            PcapBlockOwned::NG(Block::InterfaceStatistics(statistics)) => {
                let interface = self.interface(statistics.if_id)?;
                if let Some(ticks) = self.end_time(&statistics.options) {
                    self.counts.end_ns = self.counts.end_ns.max(interface.time.at_ns(0, ticks));
                }
                Ok(false)
            }
            PcapBlockOwned::NG(_) => Ok(false),
        }
    }

    fn is_big_endian(&self) -> bool {
        *self.layout == Layout::Pcapng { big_endian: true }
    }

    /// The value of isb_endtime, if there is one.
    fn end_time(&self, options: &[PcapNGOption<'_>]) -> Option<u64> {
        let option = options.iter().find(|option| option.code == OptionCode::IsbEndTime)?;
        let (high, low) = option.value.get(..8)?.split_at(4);
        let half = |bytes: &[u8]| {
            let bytes = bytes.try_into().ok()?;
            let half = if self.is_big_endian() { u32::from_be_bytes } else { u32::from_le_bytes };
            Some(u64::from(half(bytes)))
        };
        Some(half(high)? << 32 | half(low)?)
    }

    fn interface(&self, id: u32) -> Result<Interface, FileError> {
        let index = usize::try_from(id).unwrap_or(usize::MAX);
        let known = self.interfaces.get(index).copied();
        known.ok_or(FileError::Damaged("a packet of an interface that is not described"))
    }

    fn packet(
        &mut self,
        interface: Interface,
        at_ns: Option<u64>,
        frame_len: u32,
        bytes: &[u8],
        take: &mut impl FnMut(Packet<'_>),
    ) -> Result<bool, FileError> {
        let packet = interface.packet(at_ns, frame_len, bytes, self.counts);
        let is_one = packet.is_some();
        packet.into_iter().for_each(take);
        Ok(is_one)
    }
}

impl Interface {
    /// A packet of this interface, counted; `None` if nothing here can parse it.
    #[inline]
    fn packet<'a>(
        &self,
        at_ns: Option<u64>,
        frame_len: u32,
        bytes: &'a [u8],
        counts: &mut Counts,
    ) -> Option<Packet<'a>> {
        let link = match self.link {
            Ok(link) => link,
            Err(number) => {
                counts.unknown_link += 1;
                counts.first_unknown_link.get_or_insert(number);
                return None;
            }
        };
        let at_ns = at_ns.unwrap_or(counts.last_ns);
        counts.packets += 1;
        counts.cut_packets += u64::from(bytes.len() < frame_len as usize);
        counts.last_ns = at_ns;
        Some(Packet { link, at_ns, frame_len, bytes })
    }
}

/// The parser's name for a LINKTYPE_ number (tcpdump.org, "Link-layer header types").
fn link_of(number: i32) -> Result<Link, i32> {
    // The upper bits of a pcap file's field tell the length of a frame check sequence.
    match number & 0xffff {
        0 => Ok(Link::Null),
        1 => Ok(Link::Ethernet),
        // 12 and 14 are what some systems wrote for raw IP before it had a number of its own.
        12 | 14 | 101 | 228 | 229 => Ok(Link::RawIp),
        108 => Ok(Link::Loop),
        113 => Ok(Link::LinuxCooked),
        276 => Ok(Link::LinuxCooked2),
        other => Err(other),
    }
}
