//! Advice for the causes of `tuple_reuse`.

use super::shared::{CLIENT_FIN, KEEP_CONNECTIONS, LARGER_POOL, ONE_CLOCK, ORPHANS, OTHER_TAP};
use super::when::{
    NO_RESET, NO_TIMESTAMPS, NOT_THE_SAME_HOST, PORT_KEPT, RESET_IGNORED, SERVER_CLOSED, WINDOWS,
};
use super::{Advice, Role};
use crate::lang::said;

const OTHER_PORT: Advice = Advice {
    on: Role::Balancer,
    setting: said(
        "a source port of its own choice (F5: source-port change; A10: no snat-port-preserve)",
        "由它自选源端口（F5：source-port change；A10：不用 snat-port-preserve）",
    ),
    why: said(
        "two clients that choose the same port then do not meet on one tuple",
        "两台选了同一端口的客户端就不会撞上同一个四元组",
    ),
    source: "F5 iControl REST, ltm virtual sourcePort; A10 aXAPI, slb virtual-server port",
    when: Some(PORT_KEPT),
};

const OTHER_CLOSES: Advice = Advice {
    on: Role::Server,
    setting: said(
        "keep-alive time-out longer than the balancer's idle time-out",
        "keep-alive 超时要长于负载均衡的空闲超时",
    ),
    why: said(
        "the end that closes first holds TIME_WAIT; then it is no longer the one that accepts",
        "先关闭的一端持有 TIME_WAIT；这样它就不再是接受连接的一端",
    ),
    source: "RFC 9293, 3.6",
    when: Some(SERVER_CLOSED),
};

const LET_RECOVER: Advice = Advice {
    on: Role::Path,
    setting: said(
        "let the server's bare ACK and the client's RST through (stateful firewalls; Linux conntrack \
         before 6.2 calls that RST INVALID; F5 K47804233)",
        "放行服务器的旧 ACK 和客户端的 RST（有状态防火墙；6.2 之前的 Linux conntrack 会把该 RST 判为 \
         INVALID；F5 K47804233）",
    ),
    why: said(
        "the client answers the old ACK with RST, which frees the tuple; its next SYN is accepted",
        "客户端用 RST 回应旧 ACK，四元组随即释放，下一个 SYN 就会被接受",
    ),
    source: "RFC 9293, 3.10.7.3; F5 bug 515915; Linux c410cb974f2b",
    when: Some(NO_RESET),
};

const RESETS_COUNT: Advice = Advice {
    on: Role::Server,
    setting: said("Linux: net.ipv4.tcp_rfc1337 = 0", "Linux：net.ipv4.tcp_rfc1337 = 0"),
    why: said(
        "with 1 a TIME_WAIT ignores the RST that would free the tuple",
        "设为 1 时，TIME_WAIT 会忽略本可释放四元组的 RST",
    ),
    source: "Linux ip-sysctl; RFC 1337",
    when: Some(RESET_IGNORED),
};

const TIMED_WAIT: Advice = Advice {
    on: Role::Server,
    setting: said(
        "registry Tcpip\\Parameters, TcpTimedWaitDelay = 30",
        "注册表 Tcpip\\Parameters 下 TcpTimedWaitDelay = 30",
    ),
    why: said(
        "TIME_WAIT there lasts 120 s by default since Windows Server 2003, 240 s before",
        "Windows Server 2003 起 TIME_WAIT 默认 120 s，之前为 240 s",
    ),
    source: "Microsoft cc757512 and cc938217, TcpTimedWaitDelay (30 to 300 s)",
    when: Some(WINDOWS),
};

const TIMESTAMPS: Advice = Advice {
    on: Role::Client,
    setting: said(
        "TCP timestamps on (Windows: netsh int tcp set global timestamps=enabled; Linux: \
         net.ipv4.tcp_timestamps = 1)",
        "打开 TCP 时间戳（Windows：netsh int tcp set global timestamps=enabled；Linux：\
         net.ipv4.tcp_timestamps = 1）",
    ),
    why: said(
        "a newer timestamp is accepted whatever the sequence number; both ends must offer them",
        "只要时间戳更新，不管序列号如何都会被接受；两端都要支持",
    ),
    source: "Microsoft netsh reference; RFC 6191, 2",
    when: Some(NO_TIMESTAMPS),
};

const IDLE_RESET: Advice = Advice {
    on: Role::Balancer,
    setting: said(
        "reset connections when their idle time-out ends (F5: reset-on-timeout enabled)",
        "空闲超时后复位连接（F5：reset-on-timeout enabled）",
    ),
    why: said(
        "the server then knows that the connection is gone before its tuple is used again",
        "服务器就能在四元组再次使用之前知道连接已经不在",
    ),
    source: "F5 ltm profile fastl4 and tcp, reset-on-timeout",
    when: None,
};

const KEEPALIVE: Advice = Advice {
    on: Role::Server,
    setting: said(
        "TCP keepalive shorter than the balancer's idle time-out (SO_KEEPALIVE, Linux: \
         net.ipv4.tcp_keepalive_time; HAProxy: option clitcpka)",
        "TCP keepalive 要短于负载均衡的空闲超时（SO_KEEPALIVE；Linux：net.ipv4.tcp_keepalive_time；\
         HAProxy：option clitcpka）",
    ),
    why: said(
        "a connection whose other end is gone is noticed and freed",
        "对端已经不在的连接能被发现并释放",
    ),
    source: "Linux ip-sysctl; RFC 9293, 3.8.4",
    when: None,
};

const IPVS: Advice = Advice {
    on: Role::Ipvs,
    setting: said(
        "net.ipv4.vs.conn_reuse_mode = 0, or Linux 5.9 or later",
        "net.ipv4.vs.conn_reuse_mode = 0，或者使用 Linux 5.9 及以上版本",
    ),
    why: said(
        "with 1 the first SYN on a reused tuple is dropped and only the next one passes; with 0 it \
         goes to the same real server as before",
        "为 1 时，复用四元组的第一个 SYN 被丢弃，下一个才放行；为 0 时，沿用原来的真实服务器",
    ),
    source: "Linux ipvs-sysctl; commit \"ipvs: allow connection reuse for unconfirmed conntrack\"",
    when: None,
};

const LISTENER: Advice = Advice {
    on: Role::Server,
    setting: said(
        "check that the service still listens on this port (ss -ltn), and how it is restarted",
        "确认服务仍在监听该端口（ss -ltn），以及它的重启方式",
    ),
    why: said(
        "without a listener even an acceptable SYN gets the old connection's ACK",
        "没有监听者时，本可接受的 SYN 也只会得到旧连接的 ACK",
    ),
    source: "Linux tcp_v4_rcv()",
    when: None,
};

const PACE: Advice = Advice {
    on: Role::Client,
    setting: said(
        "no faster retries: the holder answers once per 500 ms (net.ipv4.tcp_invalid_ratelimit)",
        "不要重试得更快：占用方每 500 ms 只应答一次（net.ipv4.tcp_invalid_ratelimit）",
    ),
    why: said(
        "SYNs within that time are silently ignored, whatever they carry",
        "这段时间内的 SYN 无论携带什么都会被悄悄忽略",
    ),
    source: "Linux ip-sysctl",
    when: None,
};

const WHO_REFUSES: Advice = Advice {
    on: Role::Path,
    setting: said(
        "find who sends the RST: compare its TTL with the server's other segments",
        "查明 RST 是谁发的：把它的 TTL 与服务器的其他报文对比",
    ),
    why: said(
        "a holder in TIME_WAIT does not answer RST to a SYN",
        "处于 TIME_WAIT 的占用方不会用 RST 回应 SYN",
    ),
    source: "RFC 9293, 3.10.7.4",
    when: None,
};

pub(super) const PAWS: &[Advice] = &[
    ONE_CLOCK.when(NOT_THE_SAME_HOST),
    LARGER_POOL,
    OTHER_PORT,
    OTHER_CLOSES,
    LET_RECOVER,
    RESETS_COUNT,
    TIMED_WAIT,
];

pub(super) const SEQUENCE: &[Advice] =
    &[TIMESTAMPS, LARGER_POOL, OTHER_PORT, OTHER_CLOSES, LET_RECOVER, RESETS_COUNT, TIMED_WAIT];

pub(super) const IN_USE: &[Advice] = &[IDLE_RESET, KEEPALIVE, LET_RECOVER];

pub(super) const FIN_WAIT2: &[Advice] =
    &[CLIENT_FIN, Advice { on: Role::Server, ..ORPHANS }, LARGER_POOL, OTHER_PORT];

pub(super) const FIRST_SYN_DROPPED: &[Advice] = &[IPVS, KEEP_CONNECTIONS, LARGER_POOL];

pub(super) const RATE_LIMITED: &[Advice] = &[PACE];

pub(super) const LISTENER_GONE: &[Advice] = &[LISTENER];

pub(super) const REFUSED: &[Advice] = &[WHO_REFUSES];

pub(super) const UNKNOWN: &[Advice] = &[OTHER_TAP, TIMED_WAIT];
