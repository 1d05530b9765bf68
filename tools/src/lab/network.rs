//! The lab's cables: one namespace for each host, one in their middle, veth pairs between them, and
//! a mirror port fed by `tc mirred`. What stands where is a [`Topology`].

use std::process::Command;
use std::thread;

use anyhow::{Context, bail};

use super::sys;

/// A host: a namespace with one interface, `eth0`.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// Its name, and that of its cable's end in the middle.
    pub name: &'static str,
    /// Its addresses; the first is the one it speaks from.
    pub addresses: &'static [[u8; 4]],
}

impl Host {
    /// Its hardware address, made of its first address.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        let [a, b, c, d] = self.addresses[0];
        [2, 0, a, b, c, d]
    }
}

/// What joins the hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Middle {
    /// Ports without a stack, for a [`Balancer`](super::balancer::Balancer). Hosts send everything
    /// to it; it answers no ARP. Both directions of every port are mirrored, so both legs are seen.
    Balancer,
    /// A switch. What enters each port is mirrored, so every frame is seen once.
    Switch,
}

/// What is built.
#[derive(Clone, Copy, Debug)]
pub struct Topology {
    /// In the order of the middle's ports.
    pub hosts: &'static [Host],
    /// What joins them.
    pub middle: Middle,
}

/// The mirror port, in the sensor's namespace.
pub const MIRROR: &str = "mirror0";
/// The other end of its cable, in the middle.
pub const SPAN: &str = "span";
/// The hardware address of the balancer, on all its ports.
pub const BALANCER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// The middle's namespace.
pub const MIDDLE: &str = "middle";
/// The sensor's namespace.
pub const SENSOR: &str = "sensor";

/// Through which hosts reach everything behind the balancer.
const GATEWAY: &str = "169.254.0.1";

/// The namespaces, removed when this is dropped.
#[derive(Debug)]
pub struct Network {
    prefix: String,
    topology: Topology,
}

impl Network {
    /// Builds everything; names begin with `prefix`.
    ///
    /// # Errors
    /// The command that failed, and what it said.
    pub fn build(prefix: &str, topology: Topology) -> anyhow::Result<Self> {
        let network = Self { prefix: prefix.to_owned(), topology };
        for name in network.namespaces() {
            network.ip(&format!("netns add {}", network.namespace(name)))?;
            network.in_namespace(name, || {
                std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1")?;
                std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")?;
                Ok(())
            })?;
        }
        if topology.middle == Middle::Switch {
            network.ip(&format!("-n {} link add br0 type bridge", network.namespace(MIDDLE)))?;
            network.ip(&format!("-n {} link set br0 up", network.namespace(MIDDLE)))?;
        }
        for host in topology.hosts {
            network.cable(host)?;
            network.address(host)?;
        }
        network.mirror()?;
        Ok(network)
    }

    /// What was built.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The full name of one of the lab's namespaces.
    #[must_use]
    pub fn namespace(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// A command that will run in a namespace; its process id is the program's own.
    #[must_use]
    pub fn command(&self, namespace: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(namespace), program]);
        command
    }

    /// Runs `work` on a thread of its own inside a namespace. Sockets that it returns stay there,
    /// and threads that it starts.
    ///
    /// # Errors
    /// That of entering, or the work's own.
    pub fn in_namespace<T: Send>(
        &self,
        name: &str,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        let namespace = self.namespace(name);
        thread::scope(|scope| {
            let thread = scope.spawn(move || {
                sys::enter_namespace(&namespace)
                    .with_context(|| format!("entering namespace {namespace}"))?;
                work()
            });
            thread.join().unwrap_or_else(|_| bail!("the work in namespace {name} panicked"))
        })
    }

    /// Lets a host vanish, or come back: it takes and sends no IP, and nobody is told.
    ///
    /// # Errors
    /// Those of `nft`.
    pub fn vanish(&self, host: &str, gone: bool) -> anyhow::Result<()> {
        let namespace = self.namespace(host);
        let nft = |command: &str| run("ip", &format!("netns exec {namespace} nft {command}"));
        if !gone {
            return nft("delete table ip gone");
        }
        nft("add table ip gone")?;
        for hook in ["input", "output"] {
            let chain = format!("{{ type filter hook {hook} priority 0 ; policy drop ; }}");
            nft(&format!("add chain ip gone {hook} {chain}"))?;
        }
        Ok(())
    }

    fn namespaces(&self) -> impl Iterator<Item = &'static str> {
        self.topology.hosts.iter().map(|host| host.name).chain([MIDDLE, SENSOR])
    }

    fn cable(&self, host: &Host) -> anyhow::Result<()> {
        let (here, there) = (self.namespace(MIDDLE), self.namespace(host.name));
        let port = host.name;
        self.ip(&format!("link add {port} netns {here} type veth peer name eth0 netns {there}"))?;
        match self.topology.middle {
            Middle::Balancer => {
                let mac = mac(&BALANCER_MAC);
                self.ip(&format!("-n {here} link set {port} address {mac} arp off promisc on up"))
            }
            Middle::Switch => self.ip(&format!("-n {here} link set {port} master br0 up")),
        }
    }

    fn address(&self, host: &Host) -> anyhow::Result<()> {
        let namespace = self.namespace(host.name);
        let ip = |command: &str| self.ip(&format!("-n {namespace} {command}"));
        ip("link set lo up")?;
        ip(&format!("link set eth0 address {} up", mac(&host.mac())))?;
        let length = if self.topology.middle == Middle::Switch { 24 } else { 32 };
        for address in host.addresses {
            let address = std::net::Ipv4Addr::from(*address);
            ip(&format!("addr add {address}/{length} dev eth0"))?;
        }
        if self.topology.middle == Middle::Balancer {
            let balancer = mac(&BALANCER_MAC);
            ip(&format!("neigh replace {GATEWAY} lladdr {balancer} dev eth0 nud permanent"))?;
            ip(&format!("route add default via {GATEWAY} dev eth0 onlink"))?;
        }
        Ok(())
    }

    /// Copies what the middle's ports carry to the sensor.
    fn mirror(&self) -> anyhow::Result<()> {
        let (middle, sensor) = (self.namespace(MIDDLE), self.namespace(SENSOR));
        self.ip(&format!("link add {SPAN} netns {middle} type veth peer {MIRROR} netns {sensor}"))?;
        self.ip(&format!("-n {middle} link set {SPAN} up"))?;
        self.ip(&format!("-n {sensor} link set {MIRROR} up"))?;
        let directions: &[&str] = match self.topology.middle {
            Middle::Balancer => &["ingress", "egress"],
            Middle::Switch => &["ingress"],
        };
        for port in self.topology.hosts.iter().map(|host| host.name) {
            run("tc", &format!("-n {middle} qdisc add dev {port} clsact"))?;
            for direction in directions {
                run(
                    "tc",
                    &format!(
                        "-n {middle} filter add dev {port} {direction} protocol all u32 \
                         match u32 0 0 action mirred egress mirror dev {SPAN}"
                    ),
                )?;
            }
        }
        Ok(())
    }

    fn ip(&self, arguments: &str) -> anyhow::Result<()> {
        run("ip", arguments)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in self.namespaces() {
            // One that was never made is none to remove.
            let _ = Command::new("ip").args(["netns", "del", &self.namespace(name)]).output();
        }
    }
}

fn mac(octets: &[u8; 6]) -> String {
    octets.map(|octet| format!("{octet:02x}")).join(":")
}

fn run(program: &str, arguments: &str) -> anyhow::Result<()> {
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .output()
        .with_context(|| format!("running {program}; tools/setup installs it"))?;
    if !output.status.success() {
        bail!("{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
