//! The few system calls that neither the standard library nor a crate of ours offers: clocks,
//! pinning, promiscuous membership, AF_XDP options, interface addresses.
#![expect(unsafe_code, reason = "libc calls; each block says why it is sound")]

use std::ffi::CStr;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Option of level SOL_XDP that tells how a socket was bound (linux/if_xdp.h).
const XDP_OPTIONS: libc::c_int = 8;

/// Bit of [`XDP_OPTIONS`]: the driver fills our buffers itself.
const XDP_OPTIONS_ZEROCOPY: u32 = 1;

/// A clock's time in nanoseconds.
fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec to write to; both clocks exist on every Linux.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// CLOCK_MONOTONIC, nanoseconds: the clock of the program's heads.
#[must_use]
pub fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// CLOCK_REALTIME, nanoseconds since the Unix epoch.
#[must_use]
pub fn realtime_ns() -> u64 {
    clock_ns(libc::CLOCK_REALTIME)
}

/// The processors that the calling thread may run on; empty where the kernel does not say.
#[must_use]
pub fn allowed_cpus() -> Vec<usize> {
    // SAFETY: all zeros is an empty cpu_set_t.
    let mut set: libc::cpu_set_t = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: pid 0 is the calling thread; `set` is a cpu_set_t of the size given.
    let result = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    if result != 0 {
        return Vec::new();
    }
    // SAFETY: the numbers asked for are below CPU_SETSIZE.
    let is_in = |cpu: &usize| unsafe { libc::CPU_ISSET(*cpu, &set) };
    (0..libc::CPU_SETSIZE as usize).filter(is_in).collect()
}

/// Keeps the calling thread, and threads that it starts from now on, on these processors.
///
/// # Errors
/// That of `sched_setaffinity`: EINVAL if there is no such processor for us.
pub fn run_on(cpus: &[usize]) -> io::Result<()> {
    keep_on(0, cpus)
}

/// Keeps every thread that this process has, and those that they start from now on, on these
/// processors.
///
/// # Errors
/// Those of reading `/proc/self/task`; as for [`run_on`].
pub fn run_all_on(cpus: &[usize]) -> io::Result<()> {
    for task in std::fs::read_dir("/proc/self/task")? {
        if let Some(thread) = task?.file_name().to_str().and_then(|name| name.parse().ok()) {
            keep_on(thread, cpus)?;
        }
    }
    Ok(())
}

/// The same for one thread; 0 is the calling one.
fn keep_on(thread: libc::pid_t, cpus: &[usize]) -> io::Result<()> {
    // SAFETY: all zeros is an empty cpu_set_t.
    let mut set: libc::cpu_set_t = unsafe { MaybeUninit::zeroed().assume_init() };
    for &cpu in cpus {
        if cpu >= libc::CPU_SETSIZE as usize {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: `cpu` is below CPU_SETSIZE.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: `set` is a cpu_set_t of the size given; a thread that is not there is an error.
    let result =
        unsafe { libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), &raw const set) };
    check(result).map(drop)
}

/// Waits until one of `fds` is readable or `timeout_ms` is over; a signal ends the wait too.
///
/// # Errors
/// Those of `poll`, except EINTR.
pub fn wait_readable(fds: impl IntoIterator<Item = RawFd>, timeout_ms: i32) -> io::Result<()> {
    let poll = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut polls: Vec<_> = fds.into_iter().map(poll).collect();
    let count = polls.len() as libc::nfds_t;
    // SAFETY: `polls` are that many valid pollfds.
    let result = unsafe { libc::poll(polls.as_mut_ptr(), count, timeout_ms) };
    match check(result) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(()),
    }
}

/// Asks the driver to be polled from this socket for up to `us` microseconds rather than to
/// interrupt (Linux 5.11).
///
/// # Errors
/// Those of `setsockopt`: EPERM without CAP_NET_ADMIN, ENOPROTOOPT on older kernels.
pub fn prefer_busy_poll(socket: RawFd, us: u32) -> io::Result<()> {
    let us = libc::c_int::try_from(us).unwrap_or(libc::c_int::MAX);
    for (option, value) in [(libc::SO_PREFER_BUSY_POLL, 1), (libc::SO_BUSY_POLL, us)] {
        // SAFETY: `value` is an int, as both options take it, and the length is its size.
        let result = unsafe {
            libc::setsockopt(
                socket,
                libc::SOL_SOCKET,
                option,
                (&raw const value).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        check(result)?;
    }
    Ok(())
}

/// Lets the driver of a busy-polled socket look for frames, without waiting.
pub fn poll_driver(socket: RawFd) {
    // SAFETY: no memory is handed over: the length is 0. An AF_XDP socket receives nothing by this
    // call; that it would block, or that the interface is down, shows elsewhere.
    unsafe { libc::recv(socket, std::ptr::null_mut(), 0, libc::MSG_DONTWAIT) };
}

/// The kernel's index of an interface in this network namespace.
///
/// # Errors
/// ENODEV if there is none of that name.
pub fn interface_index(name: &CStr) -> io::Result<u32> {
    // SAFETY: `name` is a C string.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// Whether the driver fills the socket's buffers itself (zero copy) or the kernel copies.
///
/// # Errors
/// Those of `getsockopt`.
pub fn is_zero_copy(socket: RawFd) -> io::Result<bool> {
    let mut options = 0u32;
    let mut len = size_of::<u32>() as libc::socklen_t;
    // SAFETY: `options` and `len` are valid to write to, and `len` tells the size of `options`.
    let result = unsafe {
        libc::getsockopt(
            socket,
            libc::SOL_XDP,
            XDP_OPTIONS,
            (&raw mut options).cast(),
            &raw mut len,
        )
    };
    check(result).map(|_| options & XDP_OPTIONS_ZEROCOPY != 0)
}

/// Keeps an interface in promiscuous mode for as long as it lives; the kernel undoes it when the
/// process dies, however it dies.
#[derive(Debug)]
pub struct Promiscuous {
    _socket: OwnedFd,
}

impl Promiscuous {
    /// Joins. The socket receives nothing: protocol 0.
    ///
    /// # Errors
    /// Those of `socket` and `setsockopt`; EPERM without CAP_NET_RAW.
    pub fn join(interface: u32) -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers are involved.
        let socket = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        let membership = libc::packet_mreq {
            mr_ifindex: i32::try_from(interface).unwrap_or(-1),
            mr_type: libc::PACKET_MR_PROMISC as libc::c_ushort,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        // SAFETY: `membership` is a packet_mreq and the length is its size.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_ADD_MEMBERSHIP,
                (&raw const membership).cast(),
                size_of::<libc::packet_mreq>() as libc::socklen_t,
            )
        };
        check(result).map(|_| Self { _socket: socket })
    }
}

/// Addresses of every interface, by interface name.
///
/// # Errors
/// Those of `getifaddrs`.
pub fn interface_addresses() -> io::Result<Vec<(String, IpAddr)>> {
    let mut first = std::ptr::null_mut();
    // SAFETY: `first` is valid to write to.
    check(unsafe { libc::getifaddrs(&raw mut first) })?;
    let mut addresses = Vec::new();
    let mut next = first;
    while !next.is_null() {
        // SAFETY: not null, and part of the list that getifaddrs made and we have not freed.
        let entry = unsafe { &*next };
        // SAFETY: ifa_name is a C string for as long as the list lives.
        let name = unsafe { CStr::from_ptr(entry.ifa_name) };
        if let Some(address) = address_of(entry) {
            addresses.push((name.to_string_lossy().into_owned(), address));
        }
        next = entry.ifa_next;
    }
    // SAFETY: `first` came from getifaddrs, and no reference into the list is left.
    unsafe { libc::freeifaddrs(first) };
    Ok(addresses)
}

fn address_of(entry: &libc::ifaddrs) -> Option<IpAddr> {
    if entry.ifa_addr.is_null() {
        return None;
    }
    // SAFETY: not null, so it is a sockaddr that lives as long as the list.
    let family = i32::from(unsafe { (*entry.ifa_addr).sa_family });
    match family {
        libc::AF_INET => {
            // SAFETY: the family says that it is a sockaddr_in.
            let addr = unsafe { &*entry.ifa_addr.cast::<libc::sockaddr_in>() };
            Some(Ipv4Addr::from(addr.sin_addr.s_addr.to_ne_bytes()).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that it is a sockaddr_in6.
            let addr = unsafe { &*entry.ifa_addr.cast::<libc::sockaddr_in6>() };
            Some(Ipv6Addr::from(addr.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn clocks_go_on() {
        let (monotonic, real) = (monotonic_ns(), realtime_ns());
        assert!(monotonic > 0 && monotonic_ns() >= monotonic);
        assert!(real > 1_700_000_000_000_000_000, "years after the epoch: {real}");
    }

    #[test]
    fn a_thread_stays_where_it_is_put() {
        let before = allowed_cpus();
        let cpu = *before.last().expect("a processor");
        std::thread::spawn(move || {
            run_on(&[cpu]).expect("it is allowed there");
            assert_eq!(allowed_cpus(), [cpu]);
        })
        .join()
        .expect("pinned");
        assert_eq!(allowed_cpus(), before, "others stay where they were");
        for none in [&[][..], &[libc::CPU_SETSIZE as usize], &[usize::MAX]] {
            let error = run_on(none).expect_err("no such processor");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{none:?}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no poll")]
    fn what_is_readable_ends_the_wait() {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        wait_readable([reader.as_raw_fd()], 1).expect("nothing to read is no error");
        writer.write_all(b"x").expect("room");
        let began = monotonic_ns();
        wait_readable([reader.as_raw_fd()], 60_000).expect("readable");
        assert!(monotonic_ns() - began < 30_000_000_000);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no network interfaces")]
    fn the_loopback_interface_is_found() {
        let addresses = interface_addresses().expect("addresses");
        let local = ("lo".to_owned(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert!(addresses.contains(&local), "{addresses:?}");
    }
}
