//! Addresses and prefixes of the command line, and choices that apply to a prefix: `10.0.0.0/8=linux`.

use std::net::{IpAddr, SocketAddr};

use xdpwatch_core::finding::Endpoint;
use xdpwatch_core::host::Model;
use xdpwatch_core::prefix::Prefix;

/// A model for the hosts of a prefix.
///
/// # Errors
/// A sentence that says what is accepted.
pub fn host_model(text: &str) -> Result<(Prefix, Model), String> {
    let (prefix, word) = split(text, "10.0.0.0/8=linux")?;
    let models = || Model::ALL.iter().map(|model| model.word()).collect::<Vec<_>>().join(", ");
    let model =
        Model::named(word).ok_or_else(|| format!("give one of these models: {}", models()))?;
    Ok((prefix, model))
}

/// A range of source ports, both ends included, for the sources of a prefix.
///
/// # Errors
/// A sentence that says what is accepted.
pub fn port_range(text: &str) -> Result<(Prefix, (u16, u16)), String> {
    let (prefix, range) = split(text, "10.0.0.5=1024-65535")?;
    let ends = range.split_once('-').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    match ends {
        Some((first, last)) if first > 0 && first < last => Ok((prefix, (first, last))),
        _ => Err("give two ports, the lower one first: 1024-65535".to_owned()),
    }
}

/// The service that clients call on a balancer.
///
/// # Errors
/// A sentence that says what is accepted.
pub fn vip(text: &str) -> Result<Endpoint, String> {
    let end: SocketAddr = text.parse().map_err(|_| {
        format!("{text} is no address with a port: give 10.0.0.51:80 or [2001:db8::51]:80")
    })?;
    Ok(Endpoint { addr: octets(end.ip()), port: end.port() })
}

/// Addresses that balancers call servers from.
///
/// # Errors
/// A sentence that says what is accepted.
pub fn snat(text: &str) -> Result<Prefix, String> {
    prefix(text)
}

/// Servers of a prefix, on one port or on any.
///
/// # Errors
/// A sentence that says what is accepted.
pub fn server(text: &str) -> Result<(Prefix, Option<u16>), String> {
    let (addresses, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((addresses, "")) => (addresses, None),
        Some((addresses, rest)) => (addresses, rest.strip_prefix(':').or(Some(""))),
        // More than one colon is an IPv6 prefix without a port.
        None if text.matches(':').count() == 1 => {
            text.split_once(':').map_or((text, None), |(addresses, port)| (addresses, Some(port)))
        }
        None => (text, None),
    };
    let number = |port: &str| match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("{text}: give a port from 1 to 65535 after the colon")),
    };
    Ok((prefix(addresses)?, port.map(number).transpose()?))
}

fn octets(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn split<'a>(text: &'a str, example: &str) -> Result<(Prefix, &'a str), String> {
    let (addresses, choice) =
        text.split_once('=').ok_or_else(|| format!("give a prefix and a choice: {example}"))?;
    Ok((prefix(addresses)?, choice))
}

/// An address, or a prefix with its length.
fn prefix(text: &str) -> Result<Prefix, String> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let wrong = || format!("{text} is no prefix: give 10.0.0.0/8, 10.0.0.5 or 2001:db8::/32");
    let addr: IpAddr = address.parse().map_err(|_| wrong())?;
    let (bits, before) = if addr.is_ipv4() { (32, 96) } else { (128, 0) };
    let length = length.map_or(Ok(bits), |text| text.parse::<u8>().map_err(|_| wrong()))?;
    if length > bits { Err(wrong()) } else { Ok(Prefix::new(octets(addr), before + length)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balancers_and_their_servers() {
        let v4 = octets("10.0.0.51".parse().unwrap());
        assert_eq!(vip("10.0.0.51:80"), Ok(Endpoint { addr: v4, port: 80 }));
        assert_eq!(vip("[2001:db8::1]:80").map(|end| end.port), Ok(80));
        assert!(vip("10.0.0.51").unwrap_err().contains("10.0.0.51:80"));
        let host = Prefix::new(v4, 128);
        assert_eq!(snat("10.0.0.51"), Ok(host));
        assert_eq!(server("10.0.0.51"), Ok((host, None)));
        assert_eq!(server("10.0.0.51:8080"), Ok((host, Some(8080))));
        assert_eq!(server("10.0.0.51/32:8080"), Ok((host, Some(8080))));
        let v6 = Prefix::new(octets("2001:db8::".parse().unwrap()), 32);
        assert_eq!(server("2001:db8::/32"), Ok((v6, None)));
        assert_eq!(server("[2001:db8::/32]:80"), Ok((v6, Some(80))));
        for text in ["10.0.0.51:0", "10.0.0.51:x", "[2001:db8::/32]80", "10.0.0.0/33:80"] {
            assert!(server(text).is_err(), "{text}");
        }
    }

    #[test]
    fn prefixes_models_and_ranges_are_read() {
        let v4 = |text: &str| text.parse::<std::net::Ipv4Addr>().unwrap().to_ipv6_mapped().octets();
        let (prefix, model) = host_model("10.1.0.0/16=windows").unwrap();
        assert_eq!(model, Model::Windows);
        assert!(prefix.contains(&v4("10.1.255.1")) && !prefix.contains(&v4("10.2.0.1")));
        let (prefix, range) = port_range("10.0.0.5=1024-65535").unwrap();
        assert_eq!(range, (1024, 65535));
        assert!(prefix.contains(&v4("10.0.0.5")) && !prefix.contains(&v4("10.0.0.4")));
        assert!(host_model("2001:db8::/32=f5_fastl4").is_ok());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, cure) in [
            ("10.0.0.0/8", "10.0.0.0/8=linux"),
            ("10.0.0.0/33=linux", "is no prefix"),
            ("host=linux", "is no prefix"),
            ("10.0.0.0/8=solaris", "linux_before_6_7"),
        ] {
            let error = host_model(text).unwrap_err();
            assert!(error.contains(cure), "{error}");
        }
        for text in ["10.0.0.5=0-9", "10.0.0.5=9-8", "10.0.0.5=80", "10.0.0.5=1-70000"] {
            assert!(port_range(text).is_err(), "{text}");
        }
    }
}
