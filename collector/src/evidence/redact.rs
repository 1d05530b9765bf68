//! Other names for addresses: one address always gets the same other one, and no two share one, for
//! as long as the key stays. Addresses of one network stay in one, so that groups by network remain
//! what they are (Crypto-PAn's way). Ports, times and numbers are left as they are.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context as _;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use xdpwatch_core::finding::Finding;
use xdpwatch_prog::record::Record;

use crate::stats::Stats;

/// The first octets of an IPv4 address mapped into IPv6.
const V4_MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// Bytes of a key that is made here; others must have as many at least.
const KEY_BYTES: usize = 32;

/// A keyed permutation of addresses that keeps prefixes common which were.
#[derive(Clone)]
pub struct Redactor {
    mac: Hmac<Sha256>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redactor")
    }
}

impl Redactor {
    /// With the key in this file, which is made if it is not there.
    ///
    /// # Errors
    /// The file can be neither read nor made, or is too short to be a key.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let key = match fs::read(path) {
            Ok(key) => key,
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_key(path)
                .with_context(|| format!("making the key of --redact, {}", path.display()))?,
            Err(error) => {
                let what = format!("reading the key of --redact, {}", path.display());
                return Err(error).context(what);
            }
        };
        anyhow::ensure!(
            key.len() >= KEY_BYTES,
            "{} is no key: give a file of at least {KEY_BYTES} random bytes, or none, and one is made",
            path.display()
        );
        Ok(Self::with_key(&key))
    }

    /// With this key.
    #[must_use]
    pub fn with_key(key: &[u8]) -> Self {
        let mac = Hmac::new_from_slice(key).expect("HMAC takes keys of any length");
        Self { mac }
    }

    /// The other name of an address; IPv4 stays IPv4.
    #[must_use]
    pub fn address(&self, addr: [u8; 16]) -> [u8; 16] {
        let bits = if addr[..12] == V4_MAPPED { 96..128 } else { 0..128 };
        let number = u128::from_be_bytes(addr);
        let flips = bits.fold(0, |flips, bit| {
            // Whether a bit is flipped is told by all before it.
            let before = number.checked_shr(128 - bit).unwrap_or(0);
            let mut mac = self.mac.clone();
            mac.update(&[bit as u8]);
            mac.update(&before.to_be_bytes());
            flips | u128::from(mac.finalize().into_bytes()[0] & 1) << (127 - bit)
        });
        (number ^ flips).to_be_bytes()
    }

    /// The finding between renamed ends.
    #[must_use]
    pub fn finding(&self, finding: &Finding) -> Finding {
        let mut finding = finding.clone();
        finding.rename(|addr| self.address(addr));
        finding
    }

    /// Gives every address in statistics its other name.
    pub fn statistics(&self, stats: &mut Stats) {
        let rename = |addr: &mut [u8; 16]| *addr = self.address(*addr);
        let rows = stats.census.services.iter_mut().chain(&mut stats.census.sources);
        rows.for_each(|row| rename(&mut row.end.addr));
        for balancer in &mut stats.balancers {
            rename(&mut balancer.vip.addr);
            balancer.pool.iter_mut().for_each(|member| rename(&mut member.end));
            balancer.servers.iter_mut().for_each(|member| rename(&mut member.end.addr));
        }
    }

    /// The record between the renamed ends.
    #[must_use]
    pub fn record(&self, record: &Record) -> Record {
        Record {
            src_addr: self.address(record.src_addr),
            dst_addr: self.address(record.dst_addr),
            ..*record
        }
    }
}

fn make_key(path: &Path) -> io::Result<Vec<u8>> {
    let mut key = vec![0; KEY_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(&key)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn v4(number: u32) -> [u8; 16] {
        std::net::Ipv4Addr::from(number).to_ipv6_mapped().octets()
    }

    #[test]
    fn names_are_lasting_distinct_and_keyed() {
        let (one, other) = (Redactor::with_key(&[1; 32]), Redactor::with_key(&[2; 32]));
        let names: HashSet<[u8; 16]> = (0..10_000).map(|n| one.address(v4(n))).collect();
        assert_eq!(names.len(), 10_000, "no two addresses share a name");
        assert!(names.iter().all(|name| name[..12] == V4_MAPPED));
        assert_eq!(one.address(v4(7)), Redactor::with_key(&[1; 32]).address(v4(7)));
        assert_ne!(one.address(v4(7)), other.address(v4(7)));
        let mut six = v4(7);
        six[0] = 0x20;
        assert_ne!(one.address(six), six);
        assert_ne!(one.address(six)[..12], V4_MAPPED);
    }

    #[test]
    fn addresses_of_one_network_stay_in_one() {
        let redactor = Redactor::with_key(&[1; 32]);
        let name = |number| u128::from_be_bytes(redactor.address(v4(number)));
        for (one, other) in [(0x0a00_0001, 0x0a00_0002), (0x0a00_0001, 0x0a00_8001), (7, 1 << 31)] {
            let common = u32::leading_zeros(one ^ other);
            assert_eq!((name(one) ^ name(other)).leading_zeros(), 96 + common);
        }
    }

    #[test]
    fn the_key_is_made_once_and_for_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deeper/key");
        let first = Redactor::open(&path).unwrap();
        let second = Redactor::open(&path).unwrap();
        assert_eq!(first.address(v4(1)), second.address(v4(1)));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "short").unwrap();
        assert!(Redactor::open(&path).unwrap_err().to_string().contains("no key"));
    }
}
