//! Community ID version 1 of a TCP tuple: the same string that Zeek, Suricata and Arkime print.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use xdpwatch_core::finding::Endpoint;

/// The default seed of the specification.
const SEED: u16 = 0;

const TCP: u8 = 6;

/// The id of the tuple between two ends, whichever sent.
#[must_use]
pub fn community_id(one: &Endpoint, other: &Endpoint) -> String {
    let (low, high) = if key(one) <= key(other) { (one, other) } else { (other, one) };
    let mut hash = Sha1::new();
    hash.update(SEED.to_be_bytes());
    hash.update(octets(low));
    hash.update(octets(high));
    hash.update([TCP, 0]);
    hash.update(low.port.to_be_bytes());
    hash.update(high.port.to_be_bytes());
    format!("1:{}", STANDARD.encode(hash.finalize()))
}

fn key(end: &Endpoint) -> (Vec<u8>, u16) {
    (octets(end), end.port)
}

/// 4 octets for IPv4, 16 for IPv6.
fn octets(end: &Endpoint) -> Vec<u8> {
    match std::net::Ipv6Addr::from(end.addr).to_canonical() {
        std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
        std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(addr: &str, port: u16) -> Endpoint {
        let addr: std::net::IpAddr = addr.parse().expect("an address");
        let addr = match addr {
            std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            std::net::IpAddr::V6(v6) => v6.octets(),
        };
        Endpoint { addr, port }
    }

    /// The examples that the specification's own test data give.
    #[test]
    fn the_published_examples() {
        let client = end("128.232.110.120", 34855);
        let server = end("66.35.250.204", 80);
        assert_eq!(community_id(&client, &server), "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
        assert_eq!(community_id(&server, &client), "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
    }
}
