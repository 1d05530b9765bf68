//! Counts of frames that are no record, by the parser's reason.

use xdpwatch_prog::wire::Skip;

/// One count for each reason that has occurred.
#[derive(Clone, Debug, Default)]
pub struct Skips(Vec<(Skip, u64)>);

impl Skips {
    /// Counts one frame.
    #[inline]
    pub fn count(&mut self, skip: Skip) {
        match self.0.iter_mut().find(|(known, _)| *known == skip) {
            Some((_, count)) => *count += 1,
            None => self.0.push((skip, 1)),
        }
    }

    /// Name and count of each reason that has occurred, by name.
    #[must_use]
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        let mut counts: Vec<_> = self.0.iter().map(|(skip, count)| (skip.name(), *count)).collect();
        counts.sort_unstable();
        counts
    }

    /// Adds another worker's counts.
    pub fn add(&mut self, other: &Self) {
        for (skip, count) in &other.0 {
            match self.0.iter_mut().find(|(known, _)| known == skip) {
                Some((_, sum)) => *sum += count,
                None => self.0.push((*skip, *count)),
            }
        }
    }
}
