//! The lab's cables: five namespaces, veth pairs between them, a mirror port fed by `tc mirred`.
//!
//! ```text
//! client 1 10.24.18.13 --+                       +-- server 10.24.20.26:8080
//! client 2 10.24.18.14 --+-- balancer (no stack) -+
//!                            VIP 10.24.20.51:8080, source NAT 10.24.20.249
//!                            every port mirrored to --> sensor: mirror0
//! ```
//! Addresses are field case 5's. Neighbours are static: the balancer answers no ARP.

use std::process::Command;
use std::thread;

use anyhow::{Context, bail};

use super::sys;

/// The two clients' addresses.
pub const CLIENTS: [[u8; 4]; 2] = [[10, 24, 18, 13], [10, 24, 18, 14]];
/// What clients connect to.
pub const VIP: [u8; 4] = [10, 24, 20, 51];
/// What the server sees as its client.
pub const SOURCE_NAT: [u8; 4] = [10, 24, 20, 249];
/// The server.
pub const SERVER: [u8; 4] = [10, 24, 20, 26];
/// The service's port, at the VIP and at the server.
pub const PORT: u16 = 8080;

/// The balancer's ports: to client 1, to client 2, to the server.
pub const BALANCER_PORTS: [&str; 3] = ["c1", "c2", "srv"];
/// The mirror port, in the sensor's namespace.
pub const MIRROR: &str = "mirror0";

/// The balancer's own hardware address, on all its ports.
pub const BALANCER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The hosts' hardware addresses, in the order of the balancer's ports.
pub const HOST_MACS: [[u8; 6]; 3] = [[2, 0, 0, 0, 0, 13], [2, 0, 0, 0, 0, 14], [2, 0, 0, 0, 0, 26]];

/// The namespaces, removed when this is dropped.
#[derive(Debug)]
pub struct Network {
    prefix: String,
}

impl Network {
    /// Builds everything; names begin with `prefix`.
    ///
    /// # Errors
    /// The command that failed, and what it said.
    pub fn build(prefix: &str) -> anyhow::Result<Self> {
        let network = Self { prefix: prefix.to_owned() };
        for name in ["client1", "client2", "balancer", "server", "sensor"] {
            network.ip(&format!("netns add {}", network.namespace(name)))?;
            network.in_namespace(name, || {
                std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1")?;
                std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")?;
                Ok(())
            })?;
        }
        let hosts = [("client1", CLIENTS[0]), ("client2", CLIENTS[1]), ("server", SERVER)];
        for (n, (host, address)) in hosts.into_iter().enumerate() {
            network.cable(host, BALANCER_PORTS[n])?;
            let peer = if host == "server" { SOURCE_NAT } else { VIP };
            network.address(host, address, peer, HOST_MACS[n])?;
        }
        network.mirror()?;
        Ok(network)
    }

    /// The full name of one of the lab's namespaces.
    #[must_use]
    pub fn namespace(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// Runs `work` on a thread of its own inside a namespace. Sockets that it returns stay there.
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

    fn cable(&self, host: &str, port: &str) -> anyhow::Result<()> {
        let (here, there) = (self.namespace("balancer"), self.namespace(host));
        self.ip(&format!("link add {port} netns {here} type veth peer name eth0 netns {there}"))?;
        let mac = mac(&BALANCER_MAC);
        self.ip(&format!("-n {here} link set {port} address {mac} arp off promisc on up"))
    }

    fn address(
        &self,
        host: &str,
        address: [u8; 4],
        peer: [u8; 4],
        host_mac: [u8; 6],
    ) -> anyhow::Result<()> {
        let namespace = self.namespace(host);
        let address = std::net::Ipv4Addr::from(address);
        let peer = std::net::Ipv4Addr::from(peer);
        let (host_mac, peer_mac) = (mac(&host_mac), mac(&BALANCER_MAC));
        for command in [
            "link set lo up".to_owned(),
            format!("link set eth0 address {host_mac} up"),
            format!("addr add {address}/32 dev eth0"),
            format!("route add {peer}/32 dev eth0"),
            format!("neigh replace {peer} lladdr {peer_mac} dev eth0 nud permanent"),
        ] {
            self.ip(&format!("-n {namespace} {command}"))?;
        }
        Ok(())
    }

    /// Copies both directions of every balancer port to the sensor.
    fn mirror(&self) -> anyhow::Result<()> {
        let (balancer, sensor) = (self.namespace("balancer"), self.namespace("sensor"));
        self.ip(&format!("link add span netns {balancer} type veth peer {MIRROR} netns {sensor}"))?;
        self.ip(&format!("-n {balancer} link set span up"))?;
        self.ip(&format!("-n {sensor} link set {MIRROR} up"))?;
        for port in BALANCER_PORTS {
            run("tc", &format!("-n {balancer} qdisc add dev {port} clsact"))?;
            for direction in ["ingress", "egress"] {
                run(
                    "tc",
                    &format!(
                        "-n {balancer} filter add dev {port} {direction} protocol all u32 \
                         match u32 0 0 action mirred egress mirror dev span"
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
        for name in ["client1", "client2", "balancer", "server", "sensor"] {
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
