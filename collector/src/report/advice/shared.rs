//! Advice that more than one rule gives.

use super::{Advice, Role};
use crate::lang::said;

pub(super) const ONE_CLOCK: Advice = Advice {
    on: Role::Balancer,
    setting: said(
        "one timestamp clock per source-NAT address (F5 FastL4: tcp-timestamp-mode rewrite; or a full \
         proxy, F5 standard or HAProxy)",
        "每个 SNAT 地址只用一个时间戳时钟（F5 FastL4：tcp-timestamp-mode rewrite；或者改用全代理，如 F5 \
         standard、HAProxy）",
    ),
    why: said(
        "several clients behind one tuple have several clocks; the holder takes a lower one for old",
        "同一个四元组后面有几台客户端，就有几个时钟，占用方会把较慢的时钟当成旧报文",
    ),
    source: "F5 FastL4 profile reference; RFC 7323, 5.4",
    when: None,
};

pub(super) const LARGER_POOL: Advice = Advice {
    on: Role::Balancer,
    setting: said(
        "more source addresses (F5: SNAT pool; A10: ip nat pool; HAProxy: several `source` addresses)",
        "增加源地址（F5：SNAT pool；A10：ip nat pool；HAProxy：多个 `source` 地址）",
    ),
    why: said(
        "the same tuple then comes back after its TIME_WAIT, not within it",
        "这样四元组要等 TIME_WAIT 过后才会回来",
    ),
    source: "F5 TMOS routing administration, SNATs; A10 aXAPI, ip nat pool; HAProxy configuration manual, source; RFC 6056, 2",
    when: None,
};

pub(super) const CLIENT_FIN: Advice = Advice {
    on: Role::Proxy,
    setting: said("HAProxy: timeout client-fin 30s", "HAProxy：timeout client-fin 30s"),
    why: said(
        "bounds the wait for a client that never closes; `timeout client` alone may be a day",
        "限制等待客户端关闭的时间；只靠 `timeout client` 可能要等一天",
    ),
    source: "HAProxy configuration manual",
    when: None,
};

pub(super) const SERVER_FIN: Advice = Advice {
    on: Role::Proxy,
    setting: said("HAProxy: timeout server-fin 30s", "HAProxy：timeout server-fin 30s"),
    why: said(
        "bounds the wait for a server that never closes; `timeout server` alone may be a day",
        "限制等待服务器关闭的时间；只靠 `timeout server` 可能要等一天",
    ),
    source: "HAProxy configuration manual",
    when: None,
};

pub(super) const ORPHANS: Advice = Advice {
    on: Role::Closer,
    setting: said(
        "Linux: net.ipv4.tcp_fin_timeout = 15 (orphans only)",
        "Linux：net.ipv4.tcp_fin_timeout = 15（仅对孤儿连接有效）",
    ),
    why: said(
        "a FIN_WAIT2 whose process has gone ends then; one whose process waits does not",
        "进程已退出的 FIN_WAIT2 到时结束；进程还在等待的则不受影响",
    ),
    source: "Linux ip-sysctl",
    when: None,
};

pub(super) const KEEP_CONNECTIONS: Advice = Advice {
    on: Role::Proxy,
    setting: said(
        "keep connections: HAProxy `option http-keep-alive` instead of `httpclose` (once \
         `forceclose`), `http-reuse safe` towards servers; F5: OneConnect",
        "保持连接：HAProxy 用 `option http-keep-alive` 取代 `httpclose`（旧称 `forceclose`），对服务器用 \
         `http-reuse safe`；F5 用 OneConnect",
    ),
    why: said(
        "a connection that is not closed needs no new tuple",
        "连接不关闭，就不需要新的四元组",
    ),
    source: "HAProxy configuration manual; F5 OneConnect profile reference",
    when: None,
};

pub(super) const OTHER_TAP: Advice = Advice {
    on: Role::Path,
    setting: said(
        "capture at the holder too and compare (xdpwatch -r A -r B --compare)",
        "在占用方一侧也抓包对比（xdpwatch -r A -r B --compare）",
    ),
    why: said(
        "from here nothing shows whether the SYN or its answer was lost",
        "从这里看不出丢的是 SYN 还是它的应答",
    ),
    source: "RFC 9293, 3.10.7.3",
    when: None,
};
