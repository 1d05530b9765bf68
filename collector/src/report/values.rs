//! A finding's facts as people write such values: the same in every language.

use std::net::{Ipv6Addr, SocketAddr};

use xdpwatch_core::finding::{Endpoint, Fact, Finding};

use super::time::rfc3339;

/// An address.
#[must_use]
pub fn address(addr: &[u8; 16]) -> String {
    Ipv6Addr::from(*addr).to_canonical().to_string()
}

/// Address and port.
#[must_use]
pub fn endpoint(end: &Endpoint) -> String {
    SocketAddr::new(Ipv6Addr::from(end.addr).to_canonical(), end.port).to_string()
}

/// The two ends of a leg, whose labels begin with `prefix`.
#[must_use]
pub fn leg(finding: &Finding, prefix: &str) -> Option<String> {
    let at = |name: &str| finding.fact(&format!("{prefix}.{name}"));
    let end = |ip: &str, port: &str| match (at(ip), at(port)) {
        (Some(Fact::Address(addr)), Some(Fact::Number(port))) => {
            Some(endpoint(&Endpoint { addr, port: u16::try_from(port).ok()? }))
        }
        _ => None,
    };
    Some(format!("{} -> {}", end("src_ip", "src_port")?, end("dest_ip", "dest_port")?))
}

/// The word with this label.
#[must_use]
pub fn word(finding: &Finding, label: &str) -> &'static str {
    match finding.fact(label) {
        Some(Fact::Word(word)) => word,
        _ => "unknown",
    }
}

/// The number with this label, if it is known.
#[must_use]
pub fn number(finding: &Finding, label: &str) -> Option<i64> {
    match finding.fact(label) {
        Some(Fact::Number(number)) => Some(number),
        _ => None,
    }
}

/// The count with this label; nothing was counted if it is not there.
#[must_use]
pub fn count(finding: &Finding, label: &str) -> i64 {
    number(finding, label).unwrap_or(0)
}

/// A point in time of a finding.
#[must_use]
pub fn time(at_ns: u64, utc_offset_ns: i64) -> String {
    rfc3339(at_ns.saturating_add_signed(utc_offset_ns))
}

/// Milliseconds in seconds.
#[must_use]
pub fn seconds_of(ms: i64) -> String {
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}

/// A signed number with its digits in groups of three.
#[must_use]
pub fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::from(if number < 0 { "-" } else { "+" });
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Whether the alert still stood when the input ended: then its end says nothing of the cause.
#[must_use]
pub fn stood_to_the_end(finding: &Finding) -> bool {
    finding.fact("until") == Some(Fact::Word("end_of_input"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped() {
        assert_eq!(grouped(352_641_030), "+352 641 030");
        assert_eq!(grouped(-1_159_862), "-1 159 862");
        assert_eq!(grouped(0), "+0");
    }
}
