//! Counts of frames that are no record, by the parser's reason.

use xdpwatch_prog::wire::Skip;

/// One count for each reason.
#[derive(Clone, Debug)]
pub struct Skips([u64; Skip::ALL.len()]);

impl Default for Skips {
    fn default() -> Self {
        Self([0; Skip::ALL.len()])
    }
}

impl Skips {
    /// Counts one frame.
    #[inline]
    pub fn count(&mut self, skip: Skip) {
        self.0[skip as usize] += 1;
    }

    /// Name and count of each reason that has occurred.
    #[must_use]
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        let all = Skip::ALL.iter().zip(self.0);
        all.filter(|(_, count)| *count > 0).map(|(skip, count)| (skip.name(), count)).collect()
    }

    /// Adds another worker's counts.
    #[cfg(feature = "xdp")]
    pub fn add(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }
}
