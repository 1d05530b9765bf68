//! Two captures of the same traffic from two places: what one clock is against the other, which
//! segments died between the places, and what that says about each finding.
//!
//! Two files ([`files`]) are compared once, with clocks of their own; two interfaces of one machine
//! ([`rounds`]) again and again while they are watched. It does not see through address translation.

mod error;
mod evidence;
mod files;
mod judge;
mod kept;
mod lost;
mod offset;
mod points;
#[cfg(feature = "xdp")]
pub mod rounds;
mod sample;
mod segment;

use xdpwatch_core::finding::{Endpoint, Finding};

pub use error::CompareError;
pub use evidence::Fate;
pub use files::{Inputs, compare, is_readable_again};
pub use kept::{Findings, Keeper};
pub use lost::{Counts, Point};
pub use offset::Clock;
pub use points::Sight;
pub use segment::Segment;

/// What two captures say together.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The files or interfaces, first and second.
    pub names: [String; 2],
    /// Time of the last packet that both cover, on the first's clock, nanoseconds.
    pub at_ns: u64,
    /// The second's clock against the first's.
    pub clock: Clock,
    /// What only interfaces have: their times are of one clock.
    pub watched: Option<Watched>,
    /// What matching counted.
    pub counts: Counts,
    /// Segments that one capture missed although they had passed there.
    pub not_captured: [u64; 2],
    /// Whether data segments are left out, because something between the points merges or splits them.
    pub data_left_out: bool,
    /// What was lost, most first.
    pub lost: Vec<Group>,
    /// Groups beyond those told.
    pub groups_left_out: u64,
    /// Per finding, what was lost of its connection while it stood.
    pub findings: Vec<Explained>,
}

/// What a comparison of two interfaces has besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// From when on it tells, nanoseconds.
    pub from_ns: u64,
    /// How much later the second saw what clients sent, and what servers sent; negative if earlier,
    /// nanoseconds.
    pub later_ns: [Option<i64>; 2],
    /// Frames that each capture lost itself meanwhile.
    pub capture_lost: [u64; 2],
    /// Segments missing at each while its capture lost frames, or saw nothing: not called lost.
    pub in_doubt: [u64; 2],
}

/// Segments of one kind and direction on one tuple that never reached the other point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Who sent them.
    pub src: Endpoint,
    /// To whom.
    pub dst: Endpoint,
    /// What they were.
    pub kind: &'static str,
    /// The capture that has them; the other has not.
    pub seen_at: Point,
    /// How many.
    pub count: u64,
    /// First and last, on the first capture's clock, nanoseconds.
    pub span_ns: (u64, u64),
}

/// A finding, and what died meanwhile.
#[derive(Clone, Debug)]
pub struct Explained {
    /// Whose finding it is.
    pub point: Point,
    /// The finding.
    pub finding: Finding,
    /// What was lost of its connection meanwhile.
    pub lost: Vec<Group>,
}

impl Comparison {
    /// The same with every time later by this.
    #[must_use]
    pub fn moved_by(mut self, later_ns: i64) -> Self {
        let moved = |at_ns: &mut u64| *at_ns = at_ns.saturating_add_signed(later_ns);
        moved(&mut self.at_ns);
        if let Some(watched) = &mut self.watched {
            moved(&mut watched.from_ns);
        }
        let of_findings = self.findings.iter_mut().flat_map(|explained| &mut explained.lost);
        for group in self.lost.iter_mut().chain(of_findings) {
            moved(&mut group.span_ns.0);
            moved(&mut group.span_ns.1);
        }
        self
    }
}
