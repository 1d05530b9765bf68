//! The source pool: which client-side addresses count as one source. By prefix here; nothing is
//! learned from traffic.

/// The 96 bits that IPv4 addresses mapped into IPv6 begin with.
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// How many bits of an address name its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefixes {
    /// Of an IPv4 address, 0 to 32.
    pub v4: u8,
    /// Of an IPv6 address, 0 to 128.
    pub v6: u8,
}

impl Default for Prefixes {
    fn default() -> Self {
        Self { v4: 24, v6: 64 }
    }
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pool {
    /// Its first address; IPv4 is mapped into IPv6.
    pub addr: [u8; 16],
    /// Its prefix length as people write it: up to 32 for IPv4, up to 128 for IPv6.
    pub prefix: u8,
}

/// The pool of this address.
#[must_use]
pub fn pool(addr: [u8; 16], prefixes: Prefixes) -> Pool {
    let (prefix, fixed) =
        if addr[..12] == MAPPED { (prefixes.v4.min(32), 96) } else { (prefixes.v6.min(128), 0) };
    let bits = fixed + u32::from(prefix);
    let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    Pool { addr: (u128::from_be_bytes(addr) & mask).to_be_bytes(), prefix }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(a: u8, b: u8, c: u8, d: u8) -> [u8; 16] {
        let mut addr = [0; 16];
        addr[..12].copy_from_slice(&MAPPED);
        addr[12..].copy_from_slice(&[a, b, c, d]);
        addr
    }

    #[test]
    fn addresses_of_one_prefix_are_one_pool() {
        let prefixes = Prefixes::default();
        assert_eq!(pool(v4(10, 1, 2, 3), prefixes), pool(v4(10, 1, 2, 250), prefixes));
        assert_ne!(pool(v4(10, 1, 2, 3), prefixes), pool(v4(10, 1, 3, 3), prefixes));
        assert_eq!(pool(v4(10, 1, 2, 3), prefixes), Pool { addr: v4(10, 1, 2, 0), prefix: 24 });
        let mut v6 = [0x20; 16];
        let lower = pool(v6, prefixes);
        v6[8] = 0xff;
        assert_eq!(pool(v6, prefixes), lower);
        v6[7] = 0xff;
        assert_ne!(pool(v6, prefixes), lower);
    }

    #[test]
    fn the_shortest_and_the_longest_prefix() {
        let all = Prefixes { v4: 0, v6: 0 };
        assert_eq!(pool(v4(10, 1, 2, 3), all), Pool { addr: v4(0, 0, 0, 0), prefix: 0 });
        assert_eq!(pool([9; 16], all), Pool { addr: [0; 16], prefix: 0 });
        let one = Prefixes { v4: 32, v6: 200 };
        assert_eq!(pool(v4(10, 1, 2, 3), one).addr, v4(10, 1, 2, 3));
        assert_eq!(pool([9; 16], one), Pool { addr: [9; 16], prefix: 128 });
    }
}
