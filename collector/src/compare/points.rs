//! Where the segments of two points come from, in order of each point's clock, gone through as often as
//! it takes: files read again, or segments in memory.

#[cfg(feature = "xdp")]
use std::convert::Infallible;

use super::lost::Point;
use super::offset::Clock;
use super::sample::Sample;
use super::segment::Segment;

/// A segment, and when it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// When, on the clock of the point, nanoseconds.
    pub at_ns: u64,
    /// The segment.
    pub segment: Segment,
}

/// Two points.
pub trait Points {
    /// Why their segments can't be had.
    type Error;

    /// A point's segments, from the first to the last.
    ///
    /// # Errors
    /// They can't be had.
    fn sights(&self, point: Point) -> Result<impl Iterator<Item = Sight>, Self::Error>;

    /// A sample of a point's segments; `through_nat` leaves their addresses out.
    ///
    /// # Errors
    /// They can't be had.
    fn sample(&self, point: Point, through_nat: bool) -> Result<Sample, Self::Error> {
        let mut sample = Sample::default();
        self.sights(point)?.for_each(|sight| sample.add(&sight, through_nat));
        Ok(sample)
    }

    /// Hands the segments of both to `take`, in order of the first point's clock and with that time.
    ///
    /// # Errors
    /// They can't be had.
    fn each(
        &self,
        clock: &Clock,
        mut take: impl FnMut(Point, Segment, u64),
    ) -> Result<(), Self::Error> {
        let (mut first, mut second) = (self.sights(0)?.peekable(), self.sights(1)?.peekable());
        loop {
            let times = [
                first.peek().map(|sight| sight.at_ns),
                second.peek().map(|sight| clock.on_first(sight.at_ns)),
            ];
            let point = match times {
                [None, None] => return Ok(()),
                [Some(first), Some(second)] => usize::from(second < first),
                [first, _] => usize::from(first.is_none()),
            };
            let next = if point == 0 { first.next() } else { second.next() };
            if let (Some(sight), Some(at_ns)) = (next, times[point]) {
                take(point, sight.segment, at_ns);
            }
        }
    }
}

/// Segments in memory, in several parts after one another.
#[cfg(feature = "xdp")]
#[derive(Clone, Copy, Debug)]
pub struct Memory<'a>(pub &'a [&'a [Vec<Sight>; 2]]);

#[cfg(feature = "xdp")]
impl Points for Memory<'_> {
    type Error = Infallible;

    fn sights(&self, point: Point) -> Result<impl Iterator<Item = Sight>, Infallible> {
        Ok(self.0.iter().flat_map(move |part| part[point].iter().copied()))
    }
}
