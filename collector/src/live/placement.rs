//! Which processor each worker is pinned to, and which are left for everything else. Pure: what the
//! machine has is given.

use std::collections::BTreeMap;

/// Hands out processors, the least used first.
#[derive(Clone, Debug)]
pub struct Placement {
    /// Where this process may run.
    allowed: Vec<usize>,
    /// `--cpus`.
    chosen: Option<Vec<usize>>,
    /// Workers by processor.
    workers: BTreeMap<usize, u32>,
}

impl Placement {
    /// Nothing handed out yet.
    #[must_use]
    pub fn new(allowed: Vec<usize>, chosen: Option<Vec<usize>>) -> Self {
        Self { allowed, chosen, workers: BTreeMap::new() }
    }

    /// A processor for each of `count` workers: those chosen, else those among `near` (the
    /// interface's memory node), else any. Empty where the kernel does not say what is allowed.
    pub fn take(&mut self, count: usize, near: &[usize]) -> Vec<usize> {
        let from = match &self.chosen {
            Some(chosen) => chosen.clone(),
            None => {
                let near: Vec<usize> =
                    self.allowed.iter().copied().filter(|cpu| near.contains(cpu)).collect();
                if near.is_empty() { self.allowed.clone() } else { near }
            }
        };
        let next = |_| {
            // Of those used least the first, so that lists are followed in their order.
            let used = |cpu: &&usize| self.workers.get(*cpu).copied().unwrap_or(0);
            let cpu = *from.iter().min_by_key(used)?;
            *self.workers.entry(cpu).or_default() += 1;
            Some(cpu)
        };
        (0..count).map_while(next).collect()
    }

    /// Where reporter, aggregators and writers run: processors without a worker, if there are any.
    #[must_use]
    pub fn housekeeping(&self) -> Vec<usize> {
        let free: Vec<usize> =
            self.allowed.iter().copied().filter(|cpu| !self.workers.contains_key(cpu)).collect();
        if free.is_empty() { self.allowed.clone() } else { free }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_stay_on_the_interfaces_node_and_the_rest_keeps_away() {
        let mut placement = Placement::new((0..8).collect(), None);
        assert_eq!(placement.take(3, &[4, 5, 6, 7]), [4, 5, 6]);
        assert_eq!(placement.housekeeping(), [0, 1, 2, 3, 7]);
        // A second interface of the same node takes what is free before it shares.
        assert_eq!(placement.take(2, &[4, 5, 6, 7]), [7, 4]);
    }

    #[test]
    fn a_node_that_is_not_allowed_is_no_reason_to_stay_unpinned() {
        let mut placement = Placement::new(vec![0, 1], None);
        assert_eq!(placement.take(3, &[8, 9]), [0, 1, 0]);
        assert_eq!(placement.housekeeping(), [0, 1], "no room: everywhere");
    }

    #[test]
    fn chosen_processors_are_used_in_their_order() {
        let mut placement = Placement::new((0..4).collect(), Some(vec![3, 1]));
        assert_eq!(placement.take(3, &[0]), [3, 1, 3]);
        assert_eq!(placement.housekeeping(), [0, 2]);
    }

    #[test]
    fn nothing_is_pinned_where_nothing_is_known() {
        assert!(Placement::new(Vec::new(), None).take(2, &[]).is_empty());
    }
}
