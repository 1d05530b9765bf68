//! Advice for rules about connections that do not come about: no answer, no listener, no port.

use super::shared::{KEEP_CONNECTIONS, LARGER_POOL, OTHER_TAP};
use super::{Advice, Role};
use crate::lang::said;

const ACCEPT_QUEUE: Advice = Advice {
    on: Role::Server,
    setting: said(
        "look at the accept queue (ss -ltn: Recv-Q against Send-Q; nstat TcpExtListenOverflows); Linux: \
         net.core.somaxconn and the application's backlog",
        "检查 accept 队列（ss -ltn 看 Recv-Q 与 Send-Q；nstat TcpExtListenOverflows）；Linux：\
         net.core.somaxconn 和应用的 backlog",
    ),
    why: said("a full accept queue drops SYNs in silence", "accept 队列满了，SYN 会被悄悄丢弃"),
    source: "Linux ip-sysctl; listen(2)",
    when: None,
};

const SEAMLESS: Advice = Advice {
    on: Role::Proxy,
    setting: said(
        "seamless reload: HAProxy -W (master-worker), or `-x SOCKET` with `expose-fd listeners`",
        "无缝重载：HAProxy -W（master-worker），或 `-x SOCKET` 配合 `expose-fd listeners`",
    ),
    why: said(
        "the new process takes over the listening sockets, so none is ever closed",
        "新进程直接接管监听套接字，任何时刻都不会关闭",
    ),
    source: "HAProxy management guide, 4",
    when: None,
};

const MIGRATE: Advice = Advice {
    on: Role::Server,
    setting: said(
        "SO_REUSEPORT with the new process listening before the old one closes; Linux 5.14 and later: \
         net.ipv4.tcp_migrate_req = 1",
        "使用 SO_REUSEPORT，让新进程先开始监听，旧进程再关闭；Linux 5.14 及以上：\
         net.ipv4.tcp_migrate_req = 1",
    ),
    why: said(
        "connections that wait for the old process move to the new one instead of being reset",
        "等在旧进程里的连接会转给新进程，而不是被复位",
    ),
    source: "Linux ip-sysctl",
    when: None,
};

const DRAIN: Advice = Advice {
    on: Role::Balancer,
    setting: said(
        "take the server out of the pool before it restarts, and in again after its health check",
        "重启服务器之前先把它移出池，健康检查通过后再加回",
    ),
    why: said(
        "nobody is sent to a port where nobody listens",
        "这样不会有连接被送到没有监听的端口",
    ),
    source: "F5 iControl REST, ltm pool members (session user-disabled); HAProxy management guide, 9.3",
    when: None,
};

const MORE_SERVICES: Advice = Advice {
    on: Role::Server,
    setting: said(
        "more server addresses or ports behind the service",
        "在服务后面增加服务器地址或端口",
    ),
    why: said(
        "ports are counted for each destination, so each further one brings a range of its own",
        "端口按目的地分别计数，每增加一个就多出一整段",
    ),
    source: "RFC 6056, 2",
    when: None,
};

const PORT_RANGE: Advice = Advice {
    on: Role::Source,
    setting: said(
        "a wider range of ports (Linux: net.ipv4.ip_local_port_range = 1024 65535; HAProxy: source \
         ADDR:LOW-HIGH; Windows: netsh int ipv4 set dynamicport tcp start=10000 num=55535)",
        "扩大端口范围（Linux：net.ipv4.ip_local_port_range = 1024 65535；HAProxy：source ADDR:LOW-HIGH；\
         Windows：netsh int ipv4 set dynamicport tcp start=10000 num=55535）",
    ),
    why: said(
        "the default of Linux is 28 232 ports, that of Windows 16 384",
        "Linux 默认 28 232 个端口，Windows 默认 16 384 个",
    ),
    source: "Linux ip-sysctl; HAProxy configuration manual, source; Microsoft KB 929851",
    when: None,
};

pub(super) const CONNECT_STALLED: &[Advice] = &[ACCEPT_QUEUE, OTHER_TAP];

pub(super) const LISTENER_GAP: &[Advice] = &[SEAMLESS, MIGRATE, DRAIN];

pub(super) const PORT_PRESSURE: &[Advice] =
    &[LARGER_POOL, KEEP_CONNECTIONS, PORT_RANGE, MORE_SERVICES];
