//! Packets as they lie in a buffered piece of a file: pcap records and pcapng's enhanced packet blocks,
//! read in place. Whatever is cut off by the buffer's end, looks odd or is anything else is left to the
//! general reader, which knows every block and names what is wrong.

/// How packets are laid out from here on in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// Not known yet: the general reader reads on.
    #[default]
    Unknown,
    /// pcap.
    Pcap {
        /// Byte order.
        big_endian: bool,
        /// Bytes in front of each packet: 16, in the "modified" format 24.
        header: usize,
    },
    /// A section of a pcapng file.
    Pcapng {
        /// Byte order.
        big_endian: bool,
    },
}

/// A packet with the fields in front of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a> {
    /// Number of the interface; 0 in pcap.
    pub interface: u32,
    /// Whole seconds; 0 in pcapng.
    pub seconds: u32,
    /// Ticks, in pcap those within the second.
    pub ticks: u64,
    /// Bytes that it had on the wire.
    pub frame_len: u32,
    /// The bytes captured.
    pub bytes: &'a [u8],
    /// Bytes that all of it takes in the file.
    pub len: usize,
}

/// Block type of an enhanced packet (pcapng, 4.3).
const ENHANCED_PACKET: u32 = 6;

/// Bytes of an enhanced packet block besides packet and options.
const ENHANCED_PACKET_BYTES: usize = 32;

impl Layout {
    /// The packet at the beginning of `data`, if one is there as a whole.
    #[inline]
    #[must_use]
    pub fn packet(self, data: &[u8]) -> Option<Raw<'_>> {
        match self {
            Self::Unknown => None,
            Self::Pcap { big_endian: false, header } => pcap(data, header, u32::from_le_bytes),
            Self::Pcap { big_endian: true, header } => pcap(data, header, u32::from_be_bytes),
            Self::Pcapng { big_endian: false } => enhanced_packet(data, u32::from_le_bytes),
            Self::Pcapng { big_endian: true } => enhanced_packet(data, u32::from_be_bytes),
        }
    }
}

#[inline]
fn pcap(data: &[u8], header: usize, number: impl Fn([u8; 4]) -> u32) -> Option<Raw<'_>> {
    let [seconds, ticks, captured, frame_len] = words(data, number)?;
    let len = header.checked_add(captured as usize)?;
    let bytes = data.get(header..len)?;
    Some(Raw { interface: 0, seconds, ticks: ticks.into(), frame_len, bytes, len })
}

#[inline]
fn enhanced_packet(data: &[u8], number: impl Fn([u8; 4]) -> u32) -> Option<Raw<'_>> {
    let [kind, len, interface, high, low, captured, frame_len] = words(data, &number)?;
    let len = len as usize;
    let room = len.checked_sub(ENHANCED_PACKET_BYTES)?;
    let is_whole = kind == ENHANCED_PACKET
        && captured as usize <= room
        && len.is_multiple_of(4)
        && words(data.get(len - 4..len)?, &number) == Some([len as u32]);
    let bytes = data.get(28..28 + captured as usize)?;
    let ticks = u64::from(high) << 32 | u64::from(low);
    is_whole.then_some(Raw { interface, seconds: 0, ticks, frame_len, bytes, len })
}

/// The words at the beginning of `data`.
#[inline]
fn words<const N: usize>(data: &[u8], number: impl Fn([u8; 4]) -> u32) -> Option<[u32; N]> {
    let (words, _) = data.get(..4 * N)?.as_chunks::<4>();
    let mut numbers = [0; N];
    numbers.iter_mut().zip(words).for_each(|(to, word)| *to = number(*word));
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(words: &[u32], rest: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn whole_packets_are_read_and_no_others() {
        let pcap = Layout::Pcap { big_endian: true, header: 16 };
        let bytes = file(&[7, 8, 3, 90], b"abcd");
        let read = pcap.packet(&bytes).expect("a packet");
        assert_eq!((read.seconds, read.ticks, read.frame_len, read.len), (7, 8, 90, 19));
        assert_eq!(read.bytes, b"abc");
        assert!((0..19).all(|len| pcap.packet(&bytes[..len]).is_none()));
        assert_eq!(pcap.packet(&file(&[7, 8, u32::MAX, 90], b"abcd")), None);

        let pcapng = Layout::Pcapng { big_endian: true };
        let bytes = file(&[6, 36, 2, 1, 5, 3, 90], b"abc\0\0\0\0\x24rest");
        let read = pcapng.packet(&bytes).expect("a packet");
        assert_eq!((read.interface, read.ticks, read.frame_len), (2, (1 << 32) + 5, 90));
        assert_eq!((read.bytes, read.len), (&b"abc"[..], 36));
        assert!((0..36).all(|len| pcapng.packet(&bytes[..len]).is_none()));
        for (word, odd) in [(0, 5), (1, 40), (1, 0), (1, 33), (5, 5), (5, u32::MAX)] {
            let mut bytes = bytes.clone();
            bytes[4 * word..][..4].copy_from_slice(&u32::to_be_bytes(odd));
            assert_eq!(pcapng.packet(&bytes), None, "word {word} is {odd}");
        }
        assert_eq!(Layout::Unknown.packet(&bytes), None);
    }
}
