//! A step: what one segment, or time alone, did to one connection. Workers make steps; the rules that
//! span connections read them in order of time (then tuple), whichever worker made them.

use arrayvec::ArrayVec;
use xdpwatch_prog::record::flags;

use crate::finding::Endpoint;
use crate::flow::{Flow, State};
use crate::tuple::{Side, Tuple};

/// What happened to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It was first seen: at its SYN (state [`State::SynSent`]), at its SYN/ACK, or in mid-stream.
    Opened {
        /// How long before, in microseconds, the previous connection on this tuple had reached the
        /// state it ended in; `None` if none was remembered.
        previous_us: Option<u64>,
    },
    /// Its state changed.
    Moved,
    /// Its SYN came again before any answer.
    SynRepeated,
    /// Its own SYN came after what followed it: reordered, or a copy.
    SynLate,
    /// A SYN for a new connection met this one, which its destination still holds. Also for each
    /// repetition of that SYN.
    SynOnHeld,
    /// A FIN came again, or its copy.
    FinRepeated,
    /// The other end acknowledged data of this one that was not seen. Only where the feed carries data.
    AckedUnseen,
    /// Data that others had overtaken, or that came again. Only where the feed carries data.
    OldData,
    /// It is no longer remembered: replaced by the next on its tuple, given up for another, or past
    /// its time. Connections in TIME-WAIT or reset go without a word. When this is noticed depends on the
    /// table's size, so no alert may depend on it.
    Gone,
}

/// One step of one connection; its tuple and time are its output's.
#[derive(Clone, Debug)]
pub struct Step {
    /// What happened.
    pub what: What,
    /// Who sent the segment; the client where there was none.
    pub sender: Side,
    /// The end that sent the SYN or, where that was not seen, by its port must have.
    pub client: Side,
    /// The segment's control bits; 0 where there was none.
    pub flags: u8,
    /// The segment's sequence number.
    pub seq: u32,
    /// The segment's TSval, if it carried timestamps.
    pub ts_val: Option<u32>,
    /// The segment's virtual network; 0 if none.
    pub vni: u32,
    /// The segment's VLAN ids, outermost first.
    pub vlans: ArrayVec<u16, 2>,
    /// Silence on the connection before this segment, microseconds.
    pub silent_us: u64,
    /// Of a SYN that is the first to follow a connection on its tuple: the last TSval that connection
    /// showed of the SYN's sender.
    pub last_clock: Option<u32>,
    /// The state before; `None` where it was first seen.
    pub before: Option<State>,
    /// The ends that held the tuple's previous connection in TIME-WAIT, at [`What::Opened`].
    pub freed: [Option<Side>; 2],
    /// The connection as it is after the step.
    pub flow: Flow,
}

impl Step {
    /// Whether the client sent the segment.
    #[must_use]
    pub fn is_from_client(&self) -> bool {
        self.sender == self.client
    }

    /// Whether the segment has this control bit.
    #[must_use]
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether it is a SYN without ACK and RST.
    #[must_use]
    pub fn is_pure_syn(&self) -> bool {
        self.flags & (flags::SYN | flags::ACK | flags::RST) == flags::SYN
    }

    /// Client and server of the connection.
    #[must_use]
    pub fn ends(&self, tuple: &Tuple) -> (Endpoint, Endpoint) {
        (tuple.end(self.client), tuple.end(self.client.peer()))
    }
}

/// The end that sent the SYN; where it is not known, the one with the higher port, by the ports of A and B.
#[inline]
#[must_use]
pub fn client_of(known: Option<Side>, [a, b]: [u16; 2]) -> Side {
    known.unwrap_or(Side::from_bit(b > a))
}
