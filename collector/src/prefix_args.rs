//! Choices of the command line that apply to an address prefix: `10.0.0.0/8=linux`.

use std::net::IpAddr;

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
    let (octets, bits, before) = match address.parse().map_err(|_| wrong())? {
        IpAddr::V4(v4) => (v4.to_ipv6_mapped().octets(), 32, 96),
        IpAddr::V6(v6) => (v6.octets(), 128, 0),
    };
    let length = length.map_or(Ok(bits), |text| text.parse::<u8>().map_err(|_| wrong()))?;
    if length > bits { Err(wrong()) } else { Ok(Prefix::new(octets, before + length)) }
}

#[cfg(test)]
mod tests {
    use super::*;

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
