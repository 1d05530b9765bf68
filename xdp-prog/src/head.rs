//! The head that the program puts in front of each frame it hands to user space: when, where, how long.
//!
//! Sixteen bytes in the host's byte order; both ends run on one machine.

/// What the program knows of a frame that its bytes no longer tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Which of the interfaces that share the program.
    pub interface: u8,
    /// Receive queue.
    pub queue: u16,
    /// Length on the wire, before the payload was cut off.
    pub frame_len: u32,
    /// CLOCK_MONOTONIC when the program saw it, nanoseconds.
    pub at_ns: u64,
}

/// Why bytes are no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// Fewer than [`Head::SIZE`] bytes.
    Short,
    /// Written by a program of another version.
    Version(u8),
}

impl Head {
    /// Bytes in front of the frame.
    pub const SIZE: usize = 16;

    /// Version of this layout; the first byte.
    pub const VERSION: u8 = 1;

    /// As it travels: version, interface, queue, frame length, time.
    #[inline(always)]
    #[must_use]
    pub fn to_words(self) -> [u64; 2] {
        let first = u64::from(Self::VERSION)
            | u64::from(self.interface) << 8
            | u64::from(self.queue) << 16
            | u64::from(self.frame_len) << 32;
        [first, self.at_ns]
    }

    /// The head and the frame behind it.
    ///
    /// # Errors
    /// The bytes do not begin with a head of this version.
    #[inline]
    pub fn split(bytes: &[u8]) -> Result<(Self, &[u8]), HeadError> {
        let Some((first, rest)) = bytes.split_first_chunk::<8>() else {
            return Err(HeadError::Short);
        };
        let Some((at_ns, frame)) = rest.split_first_chunk::<8>() else {
            return Err(HeadError::Short);
        };
        let first = u64::from_ne_bytes(*first);
        if first as u8 != Self::VERSION {
            return Err(HeadError::Version(first as u8));
        }
        let head = Self {
            interface: (first >> 8) as u8,
            queue: (first >> 16) as u16,
            frame_len: (first >> 32) as u32,
            at_ns: u64::from_ne_bytes(*at_ns),
        };
        Ok((head, frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let head = Head { interface: 7, queue: 513, frame_len: 9018, at_ns: u64::MAX - 5 };
        let [a, b] = head.to_words();
        let bytes = [a.to_ne_bytes().as_slice(), &b.to_ne_bytes(), b"frame"].concat();
        assert_eq!(Head::split(&bytes), Ok((head, b"frame".as_slice())));
        assert_eq!(Head::split(&bytes[..15]), Err(HeadError::Short));
        assert_eq!(Head::split(&[9; 20]), Err(HeadError::Version(9)));
    }
}
