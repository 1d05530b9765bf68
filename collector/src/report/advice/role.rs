//! Who is who: the components that advice is for, and which of a finding's ends they are.

use xdpwatch_core::finding::{About, Fact, Finding};

use crate::lang::{Said, said};

/// A component that something can be changed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Gives connections of clients on to servers, and may change their source address.
    Balancer,
    /// A balancer that ends the client's connection and opens one of its own.
    Proxy,
    /// Linux's balancer in the kernel.
    Ipvs,
    /// Accepts the connection.
    Server,
    /// Asks for the connection.
    Client,
    /// What opens the connections to the service, as seen here: a client, or a balancer for many.
    Source,
    /// What lies between the ends.
    Path,
    /// The end that closed first.
    Closer,
    /// The switch that mirrors.
    Mirror,
    /// The host that xdpwatch runs on.
    Sensor,
}

impl Role {
    /// Its name.
    #[must_use]
    pub const fn said(self) -> Said {
        match self {
            Self::Balancer => said("balancer", "负载均衡"),
            Self::Proxy => said("proxy", "代理"),
            Self::Ipvs => said("ipvs", "IPVS"),
            Self::Server => said("server", "服务器"),
            Self::Client => said("client", "客户端"),
            Self::Source => said("source", "源端"),
            Self::Path => said("path", "中间路径"),
            Self::Closer => said("closer", "先关闭的一端"),
            Self::Mirror => said("mirror", "镜像口"),
            Self::Sensor => said("sensor", "传感器"),
        }
    }

    /// The address of the one that plays it in this finding, where the facts tell.
    #[must_use]
    pub fn address(self, finding: &Finding) -> Option<[u8; 16]> {
        let (src, dst) = (finding.src.addr, finding.dst.addr);
        let client = match finding.fact("legs.new.src_ip") {
            Some(Fact::Address(client)) => Some(client),
            _ => None,
        };
        let translated = client.is_some_and(|client| client != src);
        match (self, finding.about) {
            (_, About::Feed) | (Self::Server, About::Source) => None,
            (Self::Server, _) => Some(dst),
            (Self::Balancer, About::Connection) if translated => Some(src),
            (Self::Client, About::Connection) if translated => client,
            (Self::Client, About::Connection) | (Self::Source, About::Pair) => Some(src),
            (Self::Closer, About::Connection) => closer(finding),
            _ => None,
        }
    }
}

/// The end that closed first.
fn closer(finding: &Finding) -> Option<[u8; 16]> {
    match finding.fact("closer")? {
        Fact::Word("client") => Some(finding.src.addr),
        Fact::Word("server") => Some(finding.dst.addr),
        _ => None,
    }
}
