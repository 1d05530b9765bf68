//! Frames redirected to user space never reach the host's own stack: an interface that the host
//! uses is refused unless that is meant. Checked before anything is changed.

use std::fmt;

use super::interface::Interface;
use crate::args::{Encap, Mode};

/// What the user has said about taking frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Take every TCP frame: the interface should be a mirror port.
    Mirror,
    /// `--consume`: take them even if the host loses them.
    Consume,
    /// `--encap` or `--mode tap`: the host's own traffic passes untouched.
    Untouched,
}

impl Intent {
    /// What the options say.
    #[must_use]
    pub fn of(mode: Mode, encap: Option<Encap>, consume: bool) -> Self {
        match (encap.is_some() || mode == Mode::Tap, consume) {
            (true, _) => Self::Untouched,
            (false, true) => Self::Consume,
            (false, false) => Self::Mirror,
        }
    }
}

/// Why an interface is not captured on, and what can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is so.
    pub what: String,
    /// The ways out.
    pub cure: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.cure)
    }
}

impl std::error::Error for Refusal {}

/// Refuses to take frames off an interface that the host uses.
///
/// # Errors
/// Why it is refused and what can be done, or that it is down.
pub fn check(interface: &Interface, intent: Intent) -> Result<(), Refusal> {
    let name = &interface.name;
    if !interface.is_up {
        return Err(Refusal {
            what: format!("interface {name} is down, so no frame will come"),
            cure: format!("`ip link set {name} up` first"),
        });
    }
    let uses = uses(interface);
    if uses.is_empty() || intent != Intent::Mirror {
        return Ok(());
    }
    Err(Refusal {
        what: format!(
            "interface {name} is used by this host: {}. Capturing takes frames off it, so the host \
             would lose its connections",
            uses.join(", ")
        ),
        cure: "choose a mirror port without address; or, for a mirror that arrives in a tunnel, \
               --encap vxlan|geneve|gre|erspan; or --mode tap, which copies headers and lets every \
               frame pass; or --consume if the host may lose them"
            .to_owned(),
    })
}

/// In which ways the host uses it.
fn uses(interface: &Interface) -> Vec<String> {
    let mut uses = Vec::new();
    let addresses: Vec<_> = interface.own_addresses().map(|a| a.to_string()).collect();
    if !addresses.is_empty() {
        uses.push(format!("it carries the address {}", addresses.join(" and ")));
    }
    if interface.has_default_route {
        uses.push("the default route goes out of it".to_owned());
    }
    if let Some(master) = &interface.master {
        uses.push(format!("it belongs to {master} (bridge, bond or team)"));
    }
    let master = interface.master.as_deref();
    let on_top: Vec<_> = interface
        .uppers
        .iter()
        .map(String::as_str)
        .filter(|upper| Some(*upper) != master)
        .collect();
    if !on_top.is_empty() {
        uses.push(format!("{} runs on top of it", on_top.join(" and ")));
    }
    uses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror_port() -> Interface {
        Interface {
            name: "mirror0".to_owned(),
            index: 7,
            queues: 2,
            mtu: 1500,
            is_up: true,
            addresses: vec!["fe80::1".parse().unwrap()],
            has_default_route: false,
            master: None,
            uppers: Vec::new(),
        }
    }

    #[track_caller]
    fn refused(interface: &Interface, reason: &str) {
        let error = check(interface, Intent::Mirror).unwrap_err().to_string();
        for word in [reason, "--encap", "--mode tap", "--consume"] {
            assert!(error.contains(word), "{word} is not in: {error}");
        }
        for intent in [Intent::Consume, Intent::Untouched] {
            assert!(check(interface, intent).is_ok());
        }
    }

    #[test]
    fn a_mirror_port_is_taken_link_local_address_and_all() {
        assert!(check(&mirror_port(), Intent::Mirror).is_ok());
    }

    #[test]
    fn every_use_by_the_host_is_refused() {
        let addresses = vec!["192.0.2.1".parse().unwrap()];
        refused(&Interface { addresses, ..mirror_port() }, "192.0.2.1");
        let addresses = vec!["2001:db8::1".parse().unwrap()];
        refused(&Interface { addresses, ..mirror_port() }, "2001:db8::1");
        refused(&Interface { has_default_route: true, ..mirror_port() }, "default route");
        let master = Some("br0".to_owned());
        refused(&Interface { master, ..mirror_port() }, "br0");
        refused(&Interface { uppers: vec!["mirror0.7".to_owned()], ..mirror_port() }, "mirror0.7");
    }

    #[test]
    fn an_interface_that_is_down_is_told_with_its_cure() {
        let down = Interface { is_up: false, ..mirror_port() };
        let error = check(&down, Intent::Consume).unwrap_err().to_string();
        assert!(error.contains("ip link set mirror0 up"), "{error}");
    }
}
