//! One AF_XDP socket on one receive queue, with its own memory: every frame in it is the kernel's or
//! ours, never both, and no other socket ever sees its descriptors.
#![expect(unsafe_code, reason = "the ring calls of xsk-rs; each block says why it is sound")]

use std::error::Error;
use std::ffi::CString;
use std::fmt;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, RawFd};
use std::thread;
use std::time::{Duration, Instant};

use tracing::warn;
use xdpwatch_core::lanes;
use xsk_rs::config::{
    BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig,
};
use xsk_rs::umem::frame::FrameDesc;
use xsk_rs::{CompQueue, FillQueue, RxQueue, Socket, TxQueue, Umem};

use super::source::{FRAMES_MAX, Losses, Source};
use super::sys;

/// An earlier socket's queue stays busy for some 30 ms after its death.
const BUSY_PATIENCE: Duration = Duration::from_secs(1);

/// Rings for sending, which nothing here uses: the smallest that is accepted.
const UNUSED_RING: u32 = 64;

/// Frames of a standard MTU with their headroom fit into this.
const SMALL_FRAME: u32 = 2048;

/// What is used for larger MTUs; in copy mode only cut frames come in here anyway.
const LARGE_FRAME: u32 = 4096;

/// The largest MTU whose frames fit into [`SMALL_FRAME`] less XDP's 256 bytes of headroom.
const SMALL_MTU_MAX: u32 = 1700;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Lines of a frame that are asked for, besides its last: in copy mode frames are cut to their headers.
const HEADER_LINES: usize = 2;

/// Why a queue can't be received from.
#[derive(Debug)]
pub struct OpenError {
    queue: u32,
    operation: &'static str,
    cause: io::Error,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { queue, operation, cause } = self;
        write!(f, "queue {queue}: {operation}: {cause}")?;
        match cause.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => f.write_str(
                "; run it as root or give it CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON and \
                 CAP_IPC_LOCK",
            ),
            Some(libc::ENOBUFS | libc::ENOMEM) => f.write_str(
                "; the limit of locked memory is too low: give it CAP_IPC_LOCK, raise it with \
                 `ulimit -l unlimited`, or choose a smaller --ring-size",
            ),
            Some(libc::EBUSY) => {
                f.write_str("; another AF_XDP socket holds this queue: end the program that has it")
            }
            Some(libc::EOPNOTSUPP | libc::EINVAL) => f.write_str(
                "; the kernel lacks AF_XDP (CONFIG_XDP_SOCKETS) or the interface can't do it: \
                 use --mode tap",
            ),
            _ => Ok(()),
        }
    }
}

impl Error for OpenError {}

/// What a queue is opened with.
#[derive(Clone, Debug)]
pub struct QueueConfig {
    /// Interface name.
    pub interface: String,
    /// Frames in the receive ring; a power of two.
    pub ring_size: u32,
    /// The interface's MTU in bytes.
    pub mtu: u32,
    /// For how long the driver is polled at a time, microseconds (`--busy-poll`).
    pub busy_poll_us: Option<u32>,
}

/// A receive queue being received from.
#[derive(Debug)]
pub struct Queue {
    // Dropped in this order: the socket's parts before the memory that they point into.
    rx: RxQueue,
    fill: FillQueue,
    _unused: (TxQueue, CompQueue),
    umem: Umem,
    descs: Vec<FrameDesc>,
    /// Whether the driver is polled from here.
    is_busy_polled: bool,
}

impl Queue {
    /// Binds a socket to `queue` and gives the kernel all its frames. While the queue is busy it is
    /// tried again for a second.
    ///
    /// # Errors
    /// With the operation, the kernel's error and its cure.
    pub fn open(queue: u32, config: &QueueConfig) -> Result<Self, OpenError> {
        let deadline = Instant::now() + BUSY_PATIENCE;
        loop {
            match Self::try_open(queue, config) {
                Err(error)
                    if error.cause.raw_os_error() == Some(libc::EBUSY)
                        && Instant::now() < deadline =>
                {
                    thread::sleep(Duration::from_millis(10));
                }
                result => return result,
            }
        }
    }

    fn try_open(queue: u32, config: &QueueConfig) -> Result<Self, OpenError> {
        let failed = |operation, cause| OpenError { queue, operation, cause };
        let invalid = |operation: &'static str| {
            move |error: &dyn Error| failed(operation, io::Error::other(error.to_string()))
        };
        let frames = config.ring_size * 2;
        let size = |n| QueueSize::new(n).map_err(|error| invalid("choosing ring sizes")(&error));
        let frame_size = if config.mtu <= SMALL_MTU_MAX { SMALL_FRAME } else { LARGE_FRAME };
        let umem_config = UmemConfig::builder()
            .frame_size(
                FrameSize::new(frame_size).map_err(|error| invalid("choosing sizes")(&error))?,
            )
            // Twice as many frames as receive places: the kernel runs out of receive ring before it
            // runs out of buffers, so a loss has one name. Twice as many places as frames: the
            // kernel hands frames over before it frees their places (xsk_flush()), so with fewer
            // there would at times be no place to give one back to.
            .fill_queue_size(size(frames * 2)?)
            .comp_queue_size(size(UNUSED_RING)?)
            .build()
            .map_err(|error| invalid("choosing sizes")(&error))?;
        let count = NonZeroU32::new(frames).unwrap_or(NonZeroU32::MIN);
        let (umem, descs) = Umem::new(umem_config, count, false)
            .map_err(|error| failed("registering frame memory (umem)", cause(&error)))?;
        let name = CString::new(config.interface.as_str())
            .map_err(|error| failed("naming the interface", error.into()))?;
        let socket_config = SocketConfig::builder()
            .rx_queue_size(size(config.ring_size)?)
            .tx_queue_size(size(UNUSED_RING)?)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .bind_flags(BindFlags::XDP_USE_NEED_WAKEUP)
            .build();
        // SAFETY: this umem is used for this socket alone, so no frame can be given to another.
        let (tx, rx, rings) =
            unsafe { Socket::new(socket_config, &umem, &Interface::new(name), queue) }
                .map_err(|error| failed("binding an AF_XDP socket", cause(&error)))?;
        let Some((mut fill, completion)) = rings else {
            let cause = io::Error::other("the socket came without fill and completion rings");
            return Err(failed("binding an AF_XDP socket", cause));
        };
        // SAFETY: the descriptors are this umem's, each once, and from here on the kernel's.
        let given = unsafe { fill.produce(&descs) };
        if given != descs.len() {
            let cause = io::Error::other(format!("the kernel took {given} of {frames} frames"));
            return Err(failed("filling the fill ring", cause));
        }
        let descs = vec![FrameDesc::default(); FRAMES_MAX];
        let is_busy_polled = config.busy_poll_us.is_some_and(|us| {
            let done = sys::prefer_busy_poll(rx.fd().as_raw_fd(), us);
            if let Err(error) = &done {
                warn!(
                    "queue {queue}: busy polling is refused ({error}) and left out; it takes \
                     CAP_NET_ADMIN and Linux 5.11"
                );
            }
            done.is_ok()
        });
        Ok(Self { rx, fill, _unused: (tx, completion), umem, descs, is_busy_polled })
    }

    /// Whether the driver fills the frames itself.
    ///
    /// # Errors
    /// Those of asking the kernel.
    pub fn is_zero_copy(&self) -> io::Result<bool> {
        sys::is_zero_copy(self.fd())
    }
}

impl Source for Queue {
    fn receive(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<usize> {
        // SAFETY: the socket was made with this umem; what comes out is ours until given back.
        let received = unsafe { self.rx.consume(&mut self.descs) };
        let descs = &self.descs[..received];
        let frame = |desc| {
            // SAFETY: the descriptor came out of this umem's ring, and the frame is ours by now.
            let data = unsafe { self.umem.data(desc) };
            data.contents()
        };
        // Another processor has just written them: all are asked for before the first is read.
        descs.iter().map(frame).for_each(ask_for);
        descs.iter().map(frame).for_each(&mut take);
        // SAFETY: every descriptor is this umem's, is given back once, and is not read any more.
        let given = unsafe { self.fill.produce(descs) };
        debug_assert_eq!(given, received, "the fill ring has places for every frame");
        if received == 0 && self.is_busy_polled {
            sys::poll_driver(self.fd());
        }
        if self.fill.needs_wakeup() {
            let woken = self.fill.wakeup(self.rx.fd_mut(), 0);
            // What was taken counts first; a queue that is broken says so again.
            if received == 0 {
                woken?;
            }
        }
        Ok(received)
    }

    fn fd(&self) -> RawFd {
        self.rx.fd().as_raw_fd()
    }

    fn losses(&self) -> io::Result<Losses> {
        let statistics = self.rx.fd().xdp_statistics()?;
        Ok(Losses {
            ring_full: statistics.rx_ring_full(),
            dropped: statistics.rx_dropped(),
            fill_ring_empty: statistics.rx_fill_ring_empty_descs(),
        })
    }
}

/// Asks for the cache lines of a frame's headers, without waiting for them.
#[inline]
fn ask_for(frame: &[u8]) {
    let lines = frame.iter().step_by(LINE).take(HEADER_LINES);
    lines.chain(frame.last()).for_each(lanes::fetch);
}

/// The kernel's error behind one of xsk-rs, whose own text leaves it out.
fn cause(error: &dyn Error) -> io::Error {
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    match source.and_then(io::Error::raw_os_error) {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::other(error.to_string()),
    }
}
