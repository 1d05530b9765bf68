//! A gap in what an interface shows: its beginning and its end, as they are told.

/// Why nothing is, or was, seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The interface was set down.
    LinkDown,
    /// The interface is up, and nothing is at the other end.
    NoCarrier,
    /// There is no interface of that name.
    Removed,
    /// The program was taken off, or another put in its place.
    Detached,
    /// The largest packet changed, and with it what the driver needs.
    MtuChanged,
    /// The number of receive queues changed.
    QueuesChanged,
    /// A receive queue can't be received from any more.
    QueueFailed,
    /// xdpwatch itself did not run.
    Restart,
}

impl Reason {
    /// The word for it in events.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::LinkDown => "link_down",
            Self::NoCarrier => "no_carrier",
            Self::Removed => "removed",
            Self::Detached => "detached",
            Self::MtuChanged => "mtu_changed",
            Self::QueuesChanged => "queues_changed",
            Self::QueueFailed => "queue_failed",
            Self::Restart => "restart",
        }
    }
}

/// The beginning of a gap, or its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interruption {
    /// When, nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// Which interface.
    pub iface: String,
    /// Why.
    pub reason: Reason,
    /// At the end: for how long nothing was seen, nanoseconds.
    pub gap_ns: Option<u64>,
}

impl Interruption {
    /// The word for what it is in events.
    #[must_use]
    pub fn state(&self) -> &'static str {
        if self.gap_ns.is_some() { "resumed" } else { "interrupted" }
    }
}
