//! What the kernels of the lab's hosts are told and what they say: sysctls, counters, the states of
//! their sockets.

use std::collections::BTreeMap;

use anyhow::Context;

use super::network::Network;

/// A kernel's counters by the names that `nstat` has for them.
pub type Counters = BTreeMap<String, i64>;

/// A state of a socket, by its number in `/proc/net/tcp` (include/net/tcp_states.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Open in both directions.
    Established = 1,
    /// FIN sent, not acknowledged.
    FinWait1 = 4,
    /// FIN sent and acknowledged, none received.
    FinWait2 = 5,
    /// Closed by this host first.
    TimeWait = 6,
    /// FIN received, none sent.
    CloseWait = 8,
}

/// Sets a sysctl under `net/ipv4` in a host's namespace.
///
/// # Errors
/// Those of writing it.
pub fn set_sysctl(network: &Network, host: &str, name: &str, value: &str) -> anyhow::Result<()> {
    network.in_namespace(host, || {
        let path = format!("/proc/sys/net/ipv4/{name}");
        std::fs::write(&path, value).with_context(|| format!("writing {value} to {path}"))
    })
}

/// What a host's kernel has counted so far.
///
/// # Errors
/// Those of reading `/proc/net`.
pub fn counters(network: &Network, host: &str) -> anyhow::Result<Counters> {
    network.in_namespace(host, || {
        let mut counters = Counters::new();
        for file in ["snmp", "netstat"] {
            let text = std::fs::read_to_string(format!("/proc/thread-self/net/{file}"))?;
            let lines: Vec<&str> = text.lines().collect();
            for pair in lines.chunks(2) {
                let [names, values] = pair else { continue };
                let pairs = names.split_whitespace().zip(values.split_whitespace()).skip(1);
                for (name, value) in pairs {
                    counters.insert(name.to_owned(), value.parse().unwrap_or(0));
                }
            }
        }
        Ok(counters)
    })
}

/// By how much each counter moved; those that did not are left out.
#[must_use]
pub fn moved(before: &Counters, after: &Counters) -> Counters {
    let by = |name: &String, now: &i64| now - before.get(name).copied().unwrap_or(0);
    let moved = after.iter().map(|(name, now)| (name.clone(), by(name, now)));
    moved.filter(|(_, by)| *by != 0).collect()
}

/// How many of a host's sockets are in this state.
///
/// # Errors
/// Those of reading `/proc/net`.
pub fn sockets(network: &Network, host: &str, state: State) -> anyhow::Result<usize> {
    network.in_namespace(host, || {
        let text = std::fs::read_to_string("/proc/thread-self/net/tcp")?;
        let wanted = format!("{:02X}", state as u8);
        let state = |line: &str| line.split_whitespace().nth(3).map(str::to_owned);
        Ok(text.lines().filter(|line| state(line).as_deref() == Some(&wanted)).count())
    })
}
