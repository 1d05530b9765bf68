//! An address prefix: what choices of the configuration apply to.

/// All addresses that agree in their first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The address; IPv4 is mapped into IPv6.
    addr: u128,
    /// How many bits count, 0 to 128; 96 more than an IPv4 prefix says.
    bits: u32,
}

impl Prefix {
    /// The first `bits` of this address; more than 128 are 128.
    #[must_use]
    pub fn new(addr: [u8; 16], bits: u8) -> Self {
        Self { addr: u128::from_be_bytes(addr), bits: u32::from(bits.min(128)) }
    }

    /// Whether the address is one of them.
    #[must_use]
    pub fn contains(&self, addr: &[u8; 16]) -> bool {
        let differs = self.addr ^ u128::from_be_bytes(*addr);
        differs.checked_shr(128 - self.bits).unwrap_or(0) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_every_length() {
        let v4 = |last: u8| {
            let mut addr = [0; 16];
            addr[10..].copy_from_slice(&[0xff, 0xff, 10, 0, 0, last]);
            addr
        };
        assert!(Prefix::new(v4(1), 128).contains(&v4(1)));
        assert!(!Prefix::new(v4(1), 128).contains(&v4(2)));
        assert!(Prefix::new(v4(0), 96 + 24).contains(&v4(255)));
        assert!(!Prefix::new(v4(0), 96 + 25).contains(&v4(128)));
        assert!(Prefix::new(v4(0), 0).contains(&[0x20; 16]));
        assert!(!Prefix::new(v4(0), 96).contains(&[0x20; 16]));
    }
}
