//! How frames are spread over queues: whether both directions of a connection meet on one queue, and
//! which fields decide.

use super::super::facts::{Facts, Rss};
use super::super::line::Line;
use super::xdp::known;

/// `ETH_RSS_HASH_TOP`.
const TOEPLITZ: u32 = 1;

/// Fields of linux/ethtool.h: `RXH_IP_SRC | RXH_IP_DST`.
const ADDRESSES: u64 = 0x30;

/// `RXH_L4_B_0_1 | RXH_L4_B_2_3`.
const PORTS: u64 = 0xc0;

/// With this repeated as its key, Toeplitz gives both directions the same hash.
const SYMMETRIC_KEY: [u8; 2] = [0x6d, 0x5a];

/// Why a hash is symmetric, if it is.
fn symmetric(rss: &Rss) -> Option<&'static str> {
    match rss.transform {
        0 => {}
        1 => return Some("symmetric-xor"),
        _ => return Some("symmetric-or-xor"),
    }
    let repeats = rss.key.chunks(2).all(|part| SYMMETRIC_KEY.starts_with(part));
    (rss.function == TOEPLITZ && !rss.key.is_empty() && repeats)
        .then_some("Toeplitz with the symmetric key")
}

fn function_name(rss: &Rss) -> &'static str {
    match rss.function {
        1 => "Toeplitz",
        2 => "XOR",
        4 => "CRC32",
        _ => "unknown",
    }
}

pub fn symmetry(facts: &Facts) -> Line {
    const TOPIC: &str = "rss";
    if facts.interface.queues <= 1 {
        return Line::ok(TOPIC, "one receive queue: both directions meet there");
    }
    let Some(rss) = &facts.rss else {
        return Line::ok(
            TOPIC,
            "the driver does not tell how it hashes: keep --owner hash, the default",
        );
    };
    if let Some(why) = symmetric(rss) {
        return Line::ok(TOPIC, format!("{why}: symmetric, --owner rss may be used"));
    }
    Line::warning(
        TOPIC,
        format!(
            "{}, not symmetric: the two directions of a connection arrive on different queues, and \
             --owner hash (the default) hands one of them over",
            function_name(rss)
        ),
        make_symmetric(facts, rss),
    )
}

/// The command that makes the hash symmetric.
fn make_symmetric(facts: &Facts, rss: &Rss) -> String {
    let name = &facts.interface.name;
    let key = SYMMETRIC_KEY.map(|byte| format!("{byte:02x}")).join(":");
    let key = vec![key; rss.key.len().div_ceil(2)].join(":");
    let key: String = key.chars().take((rss.key.len() * 3).saturating_sub(1)).collect();
    let by_key = format!("`ethtool -X {name} hfunc toeplitz hkey {key}`");
    match known(facts).and_then(|driver| driver.symmetric) {
        Some(word) if rss.key.is_empty() => format!("`ethtool -X {name} xfrm {word}`"),
        Some(word) => format!("`ethtool -X {name} xfrm {word}`; where that is refused, {by_key}"),
        None if rss.key.is_empty() => {
            "this driver shows no key to change: keep --owner hash, the default".to_owned()
        }
        None => by_key,
    }
}

pub fn fields(facts: &Facts) -> Line {
    const TOPIC: &str = "hash_fields";
    if facts.interface.queues <= 1 {
        return Line::ok(TOPIC, "one receive queue: nothing is spread");
    }
    let Some(fields) = facts.hash_fields else {
        return Line::ok(TOPIC, "the driver does not tell which fields it hashes");
    };
    if fields & (ADDRESSES | PORTS) == ADDRESSES | PORTS {
        return Line::ok(TOPIC, "TCP is spread by addresses and ports");
    }
    let what = if fields & ADDRESSES == 0 { "not spread" } else { "spread by addresses only" };
    Line::warning(
        TOPIC,
        format!("TCP is {what}: all of a balancer and its server is on one queue"),
        format!("`ethtool -N {} rx-flow-hash tcp4 sdfn`, and tcp6", facts.interface.name),
    )
}
