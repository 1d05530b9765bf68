//! What the numbers in a capture file's time fields mean: resolution and offset, per interface.

use pcap_parser::pcapng::{OptionCode, PcapNGOption};

use super::file::FileError;

const SECOND_NS: u64 = 1_000_000_000;
const MILLION: u64 = 1_000_000;

/// The latest time there is, in the year 2262: deadlines after it still fit their 64 bits.
const LATEST_NS: u64 = i64::MAX.cast_unsigned();

/// Ticks per second, and whole seconds to add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timescale {
    ticks_per_s: u64,
    offset_s: i64,
}

impl Timescale {
    /// Micro- or nanoseconds, as a pcap file's magic number says.
    #[must_use]
    pub fn of_pcap(is_nanoseconds: bool) -> Self {
        let ticks_per_s = if is_nanoseconds { SECOND_NS } else { SECOND_NS / 1000 };
        Self { ticks_per_s, offset_s: 0 }
    }

    /// if_tsresol and if_tsoffset of a pcapng interface; microseconds without them.
    ///
    /// # Errors
    /// [`FileError::Damaged`] for a resolution finer than 2^-63 s or 10^-19 s.
    pub fn of_interface(
        options: &[PcapNGOption<'_>],
        is_big_endian: bool,
    ) -> Result<Self, FileError> {
        let mut scale = Self::of_pcap(false);
        for option in options {
            match (option.code, &*option.value) {
                (OptionCode::IfTsresol, [resolution, ..]) => {
                    scale.ticks_per_s = ticks_per_s(*resolution)
                        .ok_or(FileError::Damaged("an impossible time resolution (if_tsresol)"))?;
                }
                (OptionCode::IfTsoffset, [a, b, c, d, e, f, g, h, ..]) => {
                    let bytes = [*a, *b, *c, *d, *e, *f, *g, *h];
                    scale.offset_s = if is_big_endian {
                        i64::from_be_bytes(bytes)
                    } else {
                        i64::from_le_bytes(bytes)
                    };
                }
                _ => {}
            }
        }
        Ok(scale)
    }

    /// Nanoseconds since the Unix epoch; times before it become 0, later ones [`LATEST_NS`].
    #[must_use]
    #[inline]
    pub fn at_ns(&self, seconds: u64, ticks: u64) -> u64 {
        // Nearly every file has one of these two; wide numbers and divisions are slow.
        let tick_ns = match self.ticks_per_s {
            SECOND_NS => 1,
            MILLION => 1000,
            _ => return self.any_ns(seconds, ticks),
        };
        if self.offset_s == 0 && seconds <= u32::MAX.into() {
            let fraction = ticks.saturating_mul(tick_ns);
            return (seconds * SECOND_NS).saturating_add(fraction).min(LATEST_NS);
        }
        self.any_ns(seconds, ticks)
    }

    fn any_ns(&self, seconds: u64, ticks: u64) -> u64 {
        let ticks_per_s = i128::from(self.ticks_per_s);
        let fraction = i128::from(ticks) * i128::from(SECOND_NS) / ticks_per_s;
        let whole = (i128::from(seconds) + i128::from(self.offset_s)) * i128::from(SECOND_NS);
        u64::try_from((whole + fraction).max(0)).unwrap_or(u64::MAX).min(LATEST_NS)
    }
}

/// A negative power of ten, or of two with the high bit (pcapng, 4.2, if_tsresol).
fn ticks_per_s(resolution: u8) -> Option<u64> {
    let exponent = u32::from(resolution & 0x7f);
    if resolution & 0x80 == 0 { 10u64.checked_pow(exponent) } else { 1u64.checked_shl(exponent) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_and_binary_resolutions() {
        assert_eq!(ticks_per_s(6), Some(1_000_000));
        assert_eq!(ticks_per_s(9), Some(1_000_000_000));
        assert_eq!(ticks_per_s(0x80 | 10), Some(1024));
        assert_eq!(ticks_per_s(20), None);
        assert_eq!(ticks_per_s(0x80 | 64), None);
    }

    #[test]
    fn ticks_become_nanoseconds() {
        let micro = Timescale::of_pcap(false);
        assert_eq!(micro.at_ns(2, 3), 2_000_003_000);
        let binary = Timescale { ticks_per_s: 1024, offset_s: 5 };
        assert_eq!(binary.at_ns(0, 1536), 6_500_000_000);
        let early = Timescale { ticks_per_s: 1, offset_s: -10 };
        assert_eq!(early.at_ns(0, 3), 0);
        assert_eq!(micro.at_ns(u64::MAX, 0), LATEST_NS);
        assert_eq!(micro.at_ns(0, u64::MAX), LATEST_NS);
        let nano = Timescale::of_pcap(true);
        for (seconds, ticks) in [(u32::MAX.into(), 5), (0, 1_700_000_000_123_456_789), (9, 7)] {
            for scale in [micro, nano] {
                assert_eq!(scale.at_ns(seconds, ticks), scale.any_ns(seconds, ticks));
            }
        }
    }
}
