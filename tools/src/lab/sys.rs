//! The system calls that the lab needs and std does not have: entering a named network namespace,
//! packet sockets, waiting on several of them.
#![expect(unsafe_code, reason = "setns, packet sockets and poll have no safe form in std")]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Not to be told of frames that this host sends (linux/if_packet.h).
const PACKET_IGNORE_OUTGOING: i32 = 23;

/// Bytes that wait in a packet socket: half a second at 20 000 frames a second.
const RECEIVE_BUFFER: i32 = 16 << 20;

/// Moves the calling thread into the namespace of this name.
///
/// # Errors
/// Those of opening its file and of setns(2).
pub fn enter_namespace(name: &str) -> io::Result<()> {
    let file = File::open(format!("/run/netns/{name}"))?;
    // SAFETY: the descriptor is open until the call returns.
    let result = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A socket that receives and sends whole Ethernet frames of one interface.
#[derive(Debug)]
pub struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// Opens it in the calling thread's namespace, for what comes in by the interface.
    ///
    /// # Errors
    /// Those of socket(2), setsockopt(2) and bind(2), or no such interface.
    pub fn open(interface: &str) -> io::Result<Self> {
        let socket = Self::open_outgoing(interface)?;
        set(&socket.0, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)?;
        Ok(socket)
    }

    /// The same, for what comes in and what goes out.
    ///
    /// # Errors
    /// As for [`PacketSocket::open`].
    pub fn open_outgoing(interface: &str) -> io::Result<Self> {
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: the call takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, i32::from(protocol)) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just opened and belongs to nobody else.
        let socket = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        set(&socket.0, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER)?;
        // SAFETY: zeros are a valid sockaddr_ll.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        address.sll_ifindex = index_of(interface)?;
        let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: `address` is a sockaddr_ll of `len` bytes that lives through the call.
        let bound = unsafe { libc::bind(fd, (&raw const address).cast(), len) };
        if bound == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
    }

    /// The next frame, if one is there.
    ///
    /// # Errors
    /// Those of recv(2).
    pub fn receive<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
        let fd = self.0.as_raw_fd();
        // SAFETY: the buffer is writable for its whole length.
        let len = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        match usize::try_from(len) {
            Ok(len) => Ok(Some(&buffer[..len.min(buffer.len())])),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
                error => Err(error),
            },
        }
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// Those of send(2).
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: the frame is readable for its whole length.
        let len = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if len < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// Waits until one of the sockets has a frame, at most `limit`.
///
/// # Errors
/// Those of poll(2).
pub fn wait(sockets: &[PacketSocket], limit: Duration) -> io::Result<()> {
    let mut requests: Vec<libc::pollfd> = sockets
        .iter()
        .map(|socket| libc::pollfd { fd: socket.0.as_raw_fd(), events: libc::POLLIN, revents: 0 })
        .collect();
    let limit_ms = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
    let count = requests.len() as libc::nfds_t;
    // SAFETY: `requests` has `count` entries and lives through the call.
    let result = unsafe { libc::poll(requests.as_mut_ptr(), count, limit_ms) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn set(socket: &OwnedFd, level: i32, option: i32, value: i32) -> io::Result<()> {
    let len = size_of::<i32>() as libc::socklen_t;
    let value = (&raw const value).cast();
    // SAFETY: the option's value is the i32 that `value` points to.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value, len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn index_of(interface: &str) -> io::Result<i32> {
    let name = CString::new(interface)?;
    // SAFETY: `name` ends with a NUL byte and lives through the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 { Err(io::Error::last_os_error()) } else { Ok(index.cast_signed()) }
}

/// Now, in nanoseconds since the Unix epoch.
#[must_use]
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
