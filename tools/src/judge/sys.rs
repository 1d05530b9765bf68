//! The system calls that the judge needs and std does not have: an own network namespace, a TUN
//! device, waiting with a limit.
#![expect(unsafe_code, reason = "unshare, ioctl and poll have no safe form in std")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

/// Moves the calling thread into a new, empty network namespace. It ends with the thread.
///
/// # Errors
/// Those of unshare(2): EPERM without CAP_SYS_ADMIN.
pub fn enter_new_network() -> io::Result<()> {
    // SAFETY: the call takes no pointers.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether this process may do what the judge does.
#[must_use]
pub fn is_root() -> bool {
    // SAFETY: the call takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Opens a TUN device of this name in the thread's namespace: whole IP packets, no headers before
/// them, reads that do not wait.
///
/// # Errors
/// Those of opening `/dev/net/tun` and of TUNSETIFF.
pub fn open_tun(name: &str) -> io::Result<File> {
    let tun = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    // SAFETY: zeros are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as i16;
    // SAFETY: `request` is an ifreq that lives through the call, as TUNSETIFF wants it.
    let result = unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result == 0 { Ok(tun) } else { Err(io::Error::last_os_error()) }
}

/// Waits until `file` can be read, at most `limit`. True if it can.
///
/// # Errors
/// Those of poll(2).
pub fn readable(file: &File, limit: Duration) -> io::Result<bool> {
    let mut request = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let limit_ms = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: one pollfd, which lives through the call.
    match unsafe { libc::poll(&raw mut request, 1, limit_ms) } {
        -1 => Err(io::Error::last_os_error()),
        ready => Ok(ready > 0),
    }
}
