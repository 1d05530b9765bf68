//! Names and sizes of the program's maps and settings. User space creates the maps when it loads the
//! program and frees them when it ends.

/// XSKMAP, by [`socket_slot`]: user space writes its sockets, the program redirects to them.
pub const XSKS: &str = "XSKS";

/// Array of times, the transition filter: the program writes and reads it. A slot shared by several
/// tuples passes too much, never too little.
pub const TRANSITIONS: &str = "TRANSITIONS";

/// Per-CPU array by interface, the counters: the program adds, user space reads.
pub const COUNTERS: &str = "COUNTERS";

/// Array with one entry, the kernel's indices of the interfaces: user space writes, the program finds
/// its place there. Unused where there is but one.
pub const INTERFACES: &str = "INTERFACES";

/// Hash of this host's addresses for `--encap`: user space writes, the program reads.
pub const LOCAL_ADDRS: &str = "LOCAL_ADDRS";

/// Ring buffer for `--mode tap`: the program writes heads and headers, user space reads.
pub const HEADERS: &str = "HEADERS";

/// The program for frames in one buffer.
pub const PROGRAM: &str = "xdpwatch";

/// The program for frames in several buffers (MTU above about 3.5 kB).
pub const PROGRAM_FRAGS: &str = "xdpwatch_frags";

/// Receive queues of an interface at most.
pub const QUEUES_MAX: u32 = 256;

/// Interfaces that share a program, and with it the transition filter, at most.
pub const INTERFACES_MAX: usize = 8;

/// Where the socket of an interface's queue stands in the socket map.
#[inline(always)]
#[must_use]
pub const fn socket_slot(interface: u32, queue: u32) -> u32 {
    interface * QUEUES_MAX + queue
}

/// Slots of the transition filter unless set; a power of two.
pub const TRANSITION_SLOTS: u32 = 1 << 20;

/// Addresses of this host at most.
pub const LOCAL_ADDRS_MAX: u32 = 64;

/// Bytes of the ring buffer unless set; a power of two.
pub const HEADERS_BYTES: u32 = 1 << 24;

/// Bytes of a frame that the ring buffer takes: no headers are longer.
pub const HEADERS_MAX: usize = 256;

/// Settings: read-only variables that user space writes before it loads the program.
pub mod settings {
    /// How many interfaces share the program.
    pub const INTERFACES_USED: &str = "INTERFACES_USED";
    /// 1: every TCP segment is selected.
    pub const SELECT_ALL: &str = "SELECT_ALL";
    /// 1: frames that are skipped go on to the stack.
    pub const PASS_OTHER: &str = "PASS_OTHER";
    /// 1: headers are copied to the ring buffer and every frame goes on to the stack.
    pub const TAP: &str = "TAP";
    /// The encapsulation to unwrap, by its number, or 0.
    pub const ENCAP: &str = "ENCAP";
    /// How long a tuple is in transition after a SYN, nanoseconds.
    pub const SYN_WINDOW_NS: &str = "SYN_WINDOW_NS";
    /// How long a tuple is in transition after a FIN, nanoseconds.
    pub const FIN_WINDOW_NS: &str = "FIN_WINDOW_NS";
    /// Key of the tuple hash.
    pub const FILTER_SEED: &str = "FILTER_SEED";
    /// Slots of the transition filter less one.
    pub const FILTER_MASK: &str = "FILTER_MASK";
}
