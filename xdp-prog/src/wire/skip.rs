//! Why a frame gives no record. Each reason is its own counter, in the kernel and on the host.

macro_rules! skips {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal,)+) => {
        /// A reason to skip a frame.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Skip {
            $($(#[$doc])+ $variant,)+
        }

        impl Skip {
            /// All of them, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The counter's name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

skips! {
    /// The frame ends inside a header.
    Short = "short",
    /// Not IP: ARP, LLDP, spanning tree ...
    NotIp = "not_ip",
    /// The IP header contradicts itself: version, header length or total length.
    BadIp = "bad_ip",
    /// A later fragment: the TCP header was in the first.
    LaterFragment = "later_fragment",
    /// More IPv6 extension headers than are followed.
    ExtensionHeaders = "extension_headers",
    /// UDP that is no tunnel.
    Udp = "udp",
    /// ICMP or ICMPv6.
    Icmp = "icmp",
    /// Another protocol over IP.
    OtherProtocol = "other_protocol",
    /// The TCP header contradicts itself: data offset below 5.
    BadTcp = "bad_tcp",
    /// A tunnel's header contradicts itself or is of a version not known.
    BadTunnel = "bad_tunnel",
    /// More headers within headers than are followed.
    TooDeep = "too_deep",
    /// VXLAN, seen by the program, which was not told to unwrap it.
    HostVxlan = "host_vxlan",
    /// GENEVE, likewise.
    HostGeneve = "host_geneve",
    /// GRE or ERSPAN, likewise.
    HostGre = "host_gre",
    /// GTP-U, which only the host's parser unwraps.
    HostGtpu = "host_gtpu",
    /// IP in IP, likewise.
    HostIpInIp = "host_ip_in_ip",
    /// MPLS, likewise.
    HostMpls = "host_mpls",
    /// PPPoE, likewise.
    HostPppoe = "host_pppoe",
}
