//! What is known of drivers beyond what the kernel tells: from their sources, Linux 6.12 to 6.18.

/// One driver.
#[derive(Clone, Copy, Debug)]
pub struct Driver {
    /// Its name in /sys.
    pub name: &'static str,
    /// Whether it fills AF_XDP buffers itself.
    pub zero_copy: bool,
    /// The largest MTU with which it takes a program that wants each frame in one buffer.
    pub single_buffer_mtu: Option<u32>,
    /// Whether XDP needs as many idle queues as there are busy ones.
    pub needs_half_of_queues: bool,
    /// The word of `ethtool -X IF xfrm` for a symmetric hash; without one it takes a key.
    pub symmetric: Option<&'static str>,
}

const fn driver(name: &'static str, zero_copy: bool) -> Driver {
    Driver {
        name,
        zero_copy,
        single_buffer_mtu: None,
        needs_half_of_queues: false,
        symmetric: None,
    }
}

/// Zero copy as of mainline; the rest where it differs from the usual.
const DRIVERS: &[Driver] = &[
    // ENA_XDP_MAX_MTU and ena_xdp_legal_queue_count in ena_xdp.h.
    Driver { single_buffer_mtu: Some(3498), needs_half_of_queues: true, ..driver("ena", false) },
    // ixgbe_max_xdp_frame_size: 3072 bytes with headers, tags and checksum.
    Driver { single_buffer_mtu: Some(3050), ..driver("ixgbe", true) },
    driver("i40e", true),
    // supported_input_xfrm of ice_ethtool_ops, since 6.8.
    Driver { symmetric: Some("symmetric-xor"), ..driver("ice", true) },
    // supported_input_xfrm of mlx5e_ethtool_ops, since 6.16.
    Driver { symmetric: Some("symmetric-or-xor"), ..driver("mlx5_core", true) },
    driver("igb", true),
    driver("igc", true),
    driver("idpf", true),
    driver("gve", true),
    driver("nfp", true),
    driver("octeontx2", true),
    driver("rvu_nicpf", true),
    driver("fsl_dpaa2_eth", true),
    driver("stmmac", true),
    driver("tsnep", true),
    driver("virtio_net", true),
    driver("bnxt_en", false),
    driver("vmxnet3", false),
    driver("veth", false),
];

/// What is known of the driver `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Driver> {
    DRIVERS.iter().find(|driver| driver.name == name)
}
