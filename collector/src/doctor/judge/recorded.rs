//! The judge on answers as five drivers' sources (Linux 6.12 to 6.18) define them. Each value names
//! the driver's function that gives it; what depends on the machine is a common default.

use super::super::facts::{Channels, Cpus, Device, Facts, Kernel, Memory, Rings, Rss, XdpFeatures};
use super::super::line::{Level, Line};
use super::judge;
use super::xdp::{BASIC, REDIRECT, RX_SG, XSK_ZEROCOPY};
use crate::xdp::interface::Interface;
use crate::xdp::safety::Intent;

/// A mirror port with nothing to complain of but what `driver` answers.
fn mirror_port(driver: &str, queues: u32) -> Facts {
    Facts {
        interface: Interface {
            name: "eth1".to_owned(),
            index: 3,
            queues,
            mtu: 1500,
            is_up: true,
            addresses: Vec::new(),
            has_default_route: false,
            master: None,
            uppers: Vec::new(),
        },
        device: Device {
            driver: Some(driver.to_owned()),
            bus: Some("pci 0000:3b:00.0".to_owned()),
            numa_node: Some(0),
            is_virtual_function: false,
            interrupts: (0..queues).map(|n| (40 + n, vec![n as usize % 8])).collect(),
        },
        xdp: None,
        channels: None,
        rings: None,
        rss: None,
        hash_fields: None,
        offloads: Some(Vec::new()),
        cpus: Cpus {
            allowed: (0..16).collect(),
            of_node: (0..8).collect(),
            governors: vec!["performance".to_owned()],
        },
        memory: Memory { lockable: None, transparent_huge_pages: "madvise".to_owned() },
        kernel: Kernel {
            release: "6.12.9".to_owned(),
            xdp: Some(true),
            af_xdp: Some(true),
            ring_buffer: Some(true),
            btf: true,
        },
        capabilities: u64::MAX,
    }
}

/// netdev_rss_key_fill gives every driver the same random bytes; these stand for them.
fn random_key(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 73 + 11) as u8).collect()
}

#[track_caller]
fn line(facts: &Facts, topic: &str) -> Line {
    let lines = judge(facts, Intent::Mirror);
    lines.into_iter().find(|line| line.topic == topic).expect("every topic has a line")
}

#[track_caller]
fn warns(facts: &Facts, topic: &str, cure: &str) {
    let line = line(facts, topic);
    assert_eq!(line.level, Level::Warning, "{line:?}");
    assert!(line.cure.as_ref().unwrap().contains(cure), "{cure} is not in: {line:?}");
}

#[track_caller]
fn is_ok(facts: &Facts, topics: &[&str]) {
    for topic in topics {
        let line = line(facts, topic);
        assert_eq!(line.level, Level::Ok, "{line:?}");
    }
}

fn ena() -> Facts {
    let mut facts = mirror_port("ena", 8);
    // ena_probe: xdp_features; no XSK_ZEROCOPY in mainline.
    facts.xdp = Some(XdpFeatures { bits: BASIC | REDIRECT, zero_copy_segments: 1 });
    // ena_get_channels: num_io_queues and max_num_io_queues, 8 on an instance of 8 processors.
    facts.channels = Some(Channels { combined: 8, combined_max: 8, ..Channels::default() });
    // ena_get_ringparam: ENA_DEFAULT_RING_SIZE; max_rx_ring_size of the device.
    facts.rings = Some(Rings { rx: 1024, rx_max: 8192 });
    // ena_get_rxfh: ENA_ADMIN_TOEPLITZ is ETH_RSS_HASH_TOP; ENA_HASH_KEY_SIZE.
    facts.rss = Some(Rss { function: 1, key: random_key(40), transform: 0 });
    // ena_get_rss_hash by ena_com_set_default_hash_ctrl: L3 and L4, both ends.
    facts.hash_fields = Some(0xf0);
    // AWS's default for jumbo frames in a VPC.
    facts.interface.mtu = 9001;
    facts
}

#[test]
fn ena_as_it_comes() {
    let mut facts = ena();
    warns(&facts, "mtu", "ip link set eth1 mtu 3498");
    warns(&facts, "queues", "ethtool -L eth1 combined 4");
    warns(&facts, "zero_copy", "2.7.0");
    warns(&facts, "rings", "ethtool -G eth1 rx 4096");
    warns(&facts, "rss", "ethtool -X eth1 hfunc toeplitz hkey 6d:5a:6d:5a");
    let key = line(&facts, "rss").cure.unwrap();
    assert_eq!(key.matches("6d:5a").count(), 20, "as long as the device's key: {key}");
    is_ok(&facts, &["use", "driver", "xdp", "hash_fields", "merging", "vlan", "kernel"]);
    facts.interface.mtu = 3498;
    facts.channels = Some(Channels { combined: 4, combined_max: 8, ..Channels::default() });
    is_ok(&facts, &["mtu", "queues"]);
}

fn ixgbe() -> Facts {
    let mut facts = mirror_port("ixgbe", 8);
    // ixgbe_probe: no RX_SG.
    facts.xdp = Some(XdpFeatures { bits: BASIC | REDIRECT | XSK_ZEROCOPY, zero_copy_segments: 1 });
    // ixgbe_get_channels: combined only; ixgbe_max_channels.
    facts.channels = Some(Channels { combined: 8, combined_max: 63, ..Channels::default() });
    // ixgbe_get_ringparam: IXGBE_DEFAULT_RXD, IXGBE_MAX_RXD of an 82599.
    facts.rings = Some(Rings { rx: 512, rx_max: 4096 });
    // ixgbe_get_rxfh: ETH_RSS_HASH_TOP, IXGBE_RSS_KEY_SIZE.
    facts.rss = Some(Rss { function: 1, key: random_key(40), transform: 0 });
    // ixgbe_get_rss_hash_opts: TCP_V4_FLOW falls through to the addresses.
    facts.hash_fields = Some(0xf0);
    // ixgbe_probe: LRO on where RSC is capable and enabled; VLAN stripping on.
    facts.offloads = Some(["rx-gro", "rx-lro", "rx-vlan-hw-parse"].map(str::to_owned).to_vec());
    facts
}

#[test]
fn ixgbe_as_it_comes() {
    let mut facts = ixgbe();
    is_ok(&facts, &["xdp", "zero_copy", "mtu", "queues", "hash_fields"]);
    warns(&facts, "rings", "ethtool -G eth1 rx 4096");
    // ixgbe_xdp_setup refuses a program while RSC is on; the stack's merging comes after XDP.
    let merging = line(&facts, "merging");
    assert_eq!(merging.cure.as_deref(), Some("`ethtool -K eth1 lro off`"), "{merging:?}");
    warns(&facts, "vlan", "ethtool -K eth1 rxvlan off");
    warns(&facts, "rss", "hkey 6d:5a");
    facts.interface.mtu = 9000;
    warns(&facts, "mtu", "mtu 3050");
    facts.rss.as_mut().unwrap().key = [0x6d, 0x5a].repeat(20);
    is_ok(&facts, &["rss"]);
}

fn i40e() -> Facts {
    let mut facts = mirror_port("i40e", 16);
    // i40e_config_netdev: xdp_zc_max_segs is I40E_MAX_BUFFER_TXD.
    let bits = BASIC | REDIRECT | XSK_ZEROCOPY | RX_SG;
    facts.xdp = Some(XdpFeatures { bits, zero_copy_segments: 8 });
    // i40e_get_channels: combined, at most num_lan_msix.
    facts.channels = Some(Channels { combined: 16, combined_max: 16, ..Channels::default() });
    // i40e_get_ringparam: I40E_DEFAULT_NUM_DESCRIPTORS, I40E_MAX_NUM_DESCRIPTORS.
    facts.rings = Some(Rings { rx: 512, rx_max: 4096 });
    // i40e_get_rxfh: ETH_RSS_HASH_TOP, I40E_HKEY_ARRAY_SIZE.
    facts.rss = Some(Rss { function: 1, key: random_key(52), transform: 0 });
    // i40e_get_rss_hash_opts from the input set registers.
    facts.hash_fields = Some(0xf0);
    facts
}

#[test]
fn i40e_as_it_comes() {
    let mut facts = i40e();
    facts.interface.mtu = 9000;
    is_ok(&facts, &["xdp", "zero_copy", "mtu", "queues", "hash_fields"]);
    assert!(line(&facts, "zero_copy").what.contains('8'));
    let key = line(&facts, "rss").cure.unwrap();
    assert_eq!(key.matches("6d:5a").count(), 26, "{key}");
    // ethtool -N eth1 rx-flow-hash tcp4 sd, as some run it for symmetric queues.
    facts.hash_fields = Some(0x30);
    warns(&facts, "hash_fields", "ethtool -N eth1 rx-flow-hash tcp4 sdfn");
    // Interrupts all where the kernel put them without irqbalance.
    facts.device.interrupts = (0..16).map(|n| (60 + n, vec![0])).collect();
    warns(&facts, "interrupts", "/proc/irq/60/smp_affinity_list");
    facts.device.interrupts = vec![(60, vec![1]), (61, vec![12])];
    warns(&facts, "interrupts", "0,1,2,3,4,5,6,7");
}

fn ice() -> Facts {
    let mut facts = mirror_port("ice", 16);
    // ice_set_ops: xdp_zc_max_segs is ICE_MAX_BUF_TXD.
    let bits = BASIC | REDIRECT | XSK_ZEROCOPY | RX_SG;
    facts.xdp = Some(XdpFeatures { bits, zero_copy_segments: 8 });
    // ice_get_channels: one combined vector for each pair of rings.
    facts.channels = Some(Channels { combined: 16, combined_max: 64, ..Channels::default() });
    // ice_get_ringparam: ICE_DFLT_NUM_RX_DESC, ICE_MAX_NUM_DESC.
    facts.rings = Some(Rings { rx: 2048, rx_max: 8160 });
    // ice_get_rxfh: ETH_RSS_HASH_TOP; a VSI's key of 52 bytes; input_xfrm by vsi->rss_hfunc.
    facts.rss = Some(Rss { function: 1, key: random_key(52), transform: 0 });
    facts.hash_fields = Some(0xf0);
    facts
}

#[test]
fn ice_as_it_comes() {
    let mut facts = ice();
    warns(&facts, "rss", "ethtool -X eth1 xfrm symmetric-xor");
    is_ok(&facts, &["xdp", "zero_copy", "mtu", "queues", "hash_fields", "interrupts"]);
    facts.rss.as_mut().unwrap().transform = 1;
    is_ok(&facts, &["rss"]);
}

fn mlx5() -> Facts {
    let mut facts = mirror_port("mlx5_core", 8);
    // mlx5e_set_xdp_feature: one buffer with zero copy.
    let bits = BASIC | REDIRECT | XSK_ZEROCOPY | RX_SG;
    facts.xdp = Some(XdpFeatures { bits, zero_copy_segments: 1 });
    // mlx5e_ethtool_get_channels: combined, at most mlx5e_get_max_num_channels.
    facts.channels = Some(Channels { combined: 8, combined_max: 8, ..Channels::default() });
    // mlx5e_ethtool_get_ringparam: 2^MLX5E_PARAMS_DEFAULT_LOG_RQ_SIZE, ..._MAXIMUM_....
    facts.rings = Some(Rings { rx: 1024, rx_max: 8192 });
    // mlx5e_get_rxfh: Toeplitz; the key of mlx5e_rss_params_hash.
    facts.rss = Some(Rss { function: 1, key: random_key(40), transform: 0 });
    facts.hash_fields = Some(0xf0);
    facts
}

#[test]
fn mlx5_as_it_comes_and_while_it_merges() {
    let mut facts = mlx5();
    warns(&facts, "rss", "ethtool -X eth1 xfrm symmetric-or-xor");
    is_ok(&facts, &["xdp", "zero_copy", "mtu", "queues", "merging"]);
    // mlx5e_get_rxfh since 6.16: RXH_XFRM_SYM_OR_XOR.
    facts.rss.as_mut().unwrap().transform = 2;
    is_ok(&facts, &["rss"]);
    // mlx5e_set_xdp_feature: no XDP while packet_merge is on.
    facts.xdp = Some(XdpFeatures { bits: 0, zero_copy_segments: 1 });
    facts.offloads = Some(vec!["rx-lro".to_owned()]);
    warns(&facts, "xdp", "lro off");
    warns(&facts, "merging", "ethtool -K eth1 lro off");
}

#[test]
fn an_old_kernel_says_less_and_the_drivers_source_stands_in() {
    let mut facts = ixgbe();
    facts.xdp = None;
    is_ok(&facts, &["xdp", "zero_copy"]);
    facts.device.driver = Some("r8169".to_owned());
    warns(&facts, "xdp", "generic mode");
    warns(&facts, "zero_copy", "where the rate needs more");
    facts.kernel.release = "5.4.0-150".to_owned();
    assert_eq!(line(&facts, "kernel").level, Level::Blocking);
}

#[test]
fn what_blocks_says_how_to_go_on() {
    let mut facts = i40e();
    facts.capabilities = 1 << 13;
    let lacking = line(&facts, "capabilities");
    assert_eq!(lacking.level, Level::Blocking);
    assert!(lacking.what.ends_with("CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF"), "{lacking:?}");
    facts.memory.lockable = Some(8 << 20);
    let locked = line(&facts, "memlock");
    assert_eq!(locked.level, Level::Blocking);
    assert!(locked.cure.unwrap().contains("ulimit -l"));
    // CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON.
    facts.capabilities |= 1 << 12 | 1 << 21;
    is_ok(&facts, &["capabilities"]);
    facts.interface.queues = 4096;
    assert_eq!(line(&facts, "queues").level, Level::Blocking);
    facts.kernel.af_xdp = Some(false);
    assert!(line(&facts, "kernel").cure.unwrap().contains("CONFIG_XDP_SOCKETS"));
    facts.interface.addresses = vec!["192.0.2.1".parse().unwrap()];
    assert!(line(&facts, "use").cure.unwrap().contains("--mode tap"));
}

#[test]
fn the_rest_of_the_host() {
    let mut facts = i40e();
    facts.cpus.governors = vec!["powersave".to_owned()];
    warns(&facts, "governor", "performance");
    facts.memory.transparent_huge_pages = "never".to_owned();
    warns(&facts, "huge_pages", "madvise");
    facts.device.is_virtual_function = true;
    warns(&facts, "promiscuous", "trust on");
    facts.cpus.allowed = vec![8, 9];
    warns(&facts, "numa", "0,1,2,3,4,5,6,7");
    warns(&facts, "queues", "ethtool -L eth1 combined 2");
}
