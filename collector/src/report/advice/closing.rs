//! Advice for rules about how connections end.

use super::shared::{CLIENT_FIN, KEEP_CONNECTIONS, LARGER_POOL, ORPHANS, SERVER_FIN};
use super::when::{SERVER_CLOSES, WAITS_FOR_CLIENT, WAITS_FOR_SERVER};
use super::{Advice, Role};
use crate::lang::said;

const BALANCER_TIMEOUTS: Advice = Advice {
    on: Role::Balancer,
    setting: said(
        "F5 TCP profile: fin-wait-2-timeout (300 s by default), close-wait-timeout; A10 slb template tcp: \
         half-close-idle-timeout 60",
        "F5 TCP profile：fin-wait-2-timeout（默认 300 s）、close-wait-timeout；A10 slb template tcp：\
         half-close-idle-timeout 60",
    ),
    why: said(
        "it ends both legs when one stays half closed",
        "一侧长期半关闭时，它会结束两侧的连接",
    ),
    source: "F5 ltm profile tcp (17.1); A10 aXAPI, slb template tcp",
    when: None,
};

const TUNNEL: Advice = Advice {
    on: Role::Proxy,
    setting: said("HAProxy: timeout tunnel 1h", "HAProxy：timeout tunnel 1h"),
    why: said(
        "WebSockets and CONNECT follow this time-out, not those of client and server",
        "WebSocket 和 CONNECT 按这个超时，而不是 client 和 server 的超时",
    ),
    source: "HAProxy configuration manual",
    when: None,
};

const HARD_STOP: Advice = Advice {
    on: Role::Proxy,
    setting: said(
        "HAProxy that is reloaded often: `hard-stop-after 5m`",
        "经常重载的 HAProxy：`hard-stop-after 5m`",
    ),
    why: said(
        "old processes end although clients never close",
        "即使客户端一直不关闭，旧进程也会结束",
    ),
    source: "HAProxy configuration manual",
    when: None,
};

const READ_THE_END: Advice = Advice {
    on: Role::Server,
    setting: said(
        "close the socket after reading end of file, or set a time-out for idle connections",
        "读到 EOF 后关闭套接字，或者为空闲连接设置超时",
    ),
    why: said(
        "CLOSE_WAIT lasts until the program calls close(); no kernel setting ends it",
        "程序不调用 close()，CLOSE_WAIT 就一直存在，没有内核参数能结束它",
    ),
    source: "RFC 9293, 3.6",
    when: Some(WAITS_FOR_SERVER),
};

const ORPHAN_RETRIES: Advice = Advice {
    on: Role::Closer,
    setting: said(
        "Linux: net.ipv4.tcp_orphan_retries = 3 (0 means 8, more than 100 s)",
        "Linux：net.ipv4.tcp_orphan_retries = 3（0 表示 8 次，超过 100 s）",
    ),
    why: said(
        "it bounds how long a FIN is repeated that nobody acknowledges",
        "限制没有人确认的 FIN 重传多久",
    ),
    source: "Linux ip-sysctl; tcp_orphan_retries()",
    when: None,
};

const IDLE_TIMEOUTS: Advice = Advice {
    on: Role::Path,
    setting: said(
        "idle time-outs of firewalls and NAT longer than the application's, or TCP keepalive shorter \
         than theirs",
        "防火墙和 NAT 的空闲超时要长于应用，或者让 TCP keepalive 短于它们",
    ),
    why: said(
        "who has forgotten a connection passes neither its FIN nor the acknowledgment",
        "已经忘掉这条连接的设备，既不转发 FIN，也不转发它的确认",
    ),
    source: "RFC 5382, 5; Linux nf_conntrack-sysctl",
    when: None,
};

const CLIENT_KEEPS: Advice = Advice {
    on: Role::Client,
    setting: said("a pool of connections that are used again", "使用连接池，重复使用连接"),
    why: said(
        "each request on a connection of its own costs a tuple for a minute",
        "每个请求单独建一条连接，就要占用一个四元组一分钟",
    ),
    source: "RFC 9112, 9.3",
    when: None,
};

const OTHER_CLOSES: Advice = Advice {
    on: Role::Server,
    setting: said("let the client or the balancer close first", "让客户端或负载均衡先关闭"),
    why: said(
        "TIME_WAIT is then at the end that chooses the ports, which knows them and avoids them",
        "这样 TIME_WAIT 落在选择端口的一端，它知道哪些端口被占，会避开",
    ),
    source: "RFC 9293, 3.6",
    when: Some(SERVER_CLOSES),
};

const RESET_CLOSE: Advice = Advice {
    on: Role::Closer,
    setting: said(
        "as a last resort: close by RST (SO_LINGER with 0 s)",
        "最后手段：用 RST 关闭（SO_LINGER 设为 0 s）",
    ),
    why: said(
        "it leaves no TIME_WAIT, at a price: data still on its way is lost, and old segments may reach \
         the next connection",
        "不会留下 TIME_WAIT，但有代价：在途数据会丢失，旧报文还可能进入下一条连接",
    ),
    source: "RFC 1337; socket(7)",
    when: None,
};

pub(super) const HALF_CLOSED: &[Advice] = &[
    CLIENT_FIN.when(WAITS_FOR_CLIENT),
    SERVER_FIN.when(WAITS_FOR_SERVER),
    READ_THE_END,
    TUNNEL,
    HARD_STOP,
    BALANCER_TIMEOUTS,
    ORPHANS,
];

pub(super) const FIN_UNACKNOWLEDGED: &[Advice] = &[IDLE_TIMEOUTS, ORPHAN_RETRIES];

pub(super) const CHURN: &[Advice] =
    &[KEEP_CONNECTIONS, CLIENT_KEEPS, OTHER_CLOSES, LARGER_POOL, RESET_CLOSE];
