//! Advice for rules about sources' clocks and about the feed itself.

use super::shared::{LARGER_POOL, ONE_CLOCK};
use super::when::{ASYMMETRIC, DUPLICATES, LOSS, ONE_DIRECTION};
use super::{Advice, Role};
use crate::lang::said;

const NO_RECYCLE: Advice = Advice {
    on: Role::Server,
    setting: said(
        "net.ipv4.tcp_tw_recycle = 0, at once (gone since Linux 4.12)",
        "立即设置 net.ipv4.tcp_tw_recycle = 0（Linux 4.12 起已删除）",
    ),
    why: said(
        "it drops clients whose clock is behind another one's at the same address",
        "同一地址上，时钟落后于他人的客户端都会被它丢弃",
    ),
    source: "Linux commit 4396e46187ca",
    when: None,
};

const OWN_ADDRESS: Advice = Advice {
    on: Role::Balancer,
    setting: said(
        "the same source address always for the same client (F5: intelligent SNAT by iRule; A10: ip nat \
         inside source class-list, with use-nat-pool in each glid)",
        "同一客户端总是使用同一个源地址（F5：用 iRule 实现 intelligent SNAT；A10：ip nat inside source \
         class-list，在各 glid 中用 use-nat-pool）",
    ),
    why: said("fewer clocks then share an address", "这样共用一个地址的时钟就少了"),
    source: "RFC 7323, 5.4; F5 LTM configuration guide, SNATs; A10 aXAPI, glid",
    when: None,
};

const BOTH_DIRECTIONS: Advice = Advice {
    on: Role::Mirror,
    setting: said(
        "mirror both directions of the port (rx and tx)",
        "镜像端口的两个方向（rx 和 tx）",
    ),
    why: said(
        "without the other direction neither answers nor closes are seen",
        "缺了另一个方向，就看不到应答，也看不到关闭",
    ),
    source: "the switch's SPAN reference",
    when: Some(ONE_DIRECTION),
};

const ONCE: Advice = Advice {
    on: Role::Mirror,
    setting: said(
        "mirror each packet once: not ingress and egress of the same VLAN, or of both ports it crosses",
        "每个报文只镜像一次：不要同时镜像同一 VLAN 的入和出，或报文经过的两个端口",
    ),
    why: said(
        "copies cost the sensor's capacity and half of the mirror's",
        "重复报文会占用传感器的容量，以及镜像口一半的容量",
    ),
    source: "the switch's SPAN reference",
    when: Some(DUPLICATES),
};

const SENSOR: Advice = Advice {
    on: Role::Sensor,
    setting: said(
        "`xdpwatch doctor --iface IF` and what it says of rings, queues and processors",
        "运行 `xdpwatch doctor --iface IF`，按它对环、队列和处理器的建议调整",
    ),
    why: said(
        "frames were lost between the interface and the detector",
        "报文在网卡与检测器之间丢失",
    ),
    source: "Linux AF_XDP and ethtool documents",
    when: Some(LOSS),
};

const SYMMETRIC: Advice = Advice {
    on: Role::Sensor,
    setting: said(
        "`--owner hash`, or symmetric receive hashing (`xdpwatch doctor --iface IF` says how)",
        "使用 `--owner hash`，或者启用对称的接收哈希（`xdpwatch doctor --iface IF` 会说明方法）",
    ),
    why: said(
        "a connection's two directions must reach the same worker",
        "一条连接的两个方向必须到达同一个 worker",
    ),
    source: "ethtool -X; Linux networking/scaling",
    when: Some(ASYMMETRIC),
};

pub(super) const HOST_TIMESTAMP_REFUSAL: &[Advice] = &[NO_RECYCLE, ONE_CLOCK];

pub(super) const MIXED_CLOCKS: &[Advice] = &[ONE_CLOCK, OWN_ADDRESS, LARGER_POOL];

pub(super) const MIRROR_FAULT: &[Advice] = &[BOTH_DIRECTIONS, ONCE, SENSOR, SYMMETRIC];
