//! Workers' outputs merged in order of time, then tuple: what comes out does not depend on how many
//! workers there are or how their records were batched.

use std::cmp::Ordering;

use xdpwatch_core::watch::Output;

/// The outputs of one worker that were not yet passed on.
#[derive(Debug, Default)]
struct Lane {
    pending: Vec<Output>,
    /// Of these, how many are being passed on.
    due: usize,
    /// The next of those.
    next: usize,
    /// The worker's outputs to come are at or after this.
    watermark_ns: u64,
}

/// Holds outputs back until no worker can still produce an earlier one.
#[derive(Debug)]
pub struct Merge {
    lanes: Vec<Lane>,
}

impl Merge {
    /// A merge of `workers` lanes.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self { lanes: (0..workers).map(|_| Lane::default()).collect() }
    }

    /// Takes an output of worker `lane`; a worker's outputs come in order of time.
    pub fn push(&mut self, lane: usize, output: Output) {
        self.lanes[lane].pending.push(output);
    }

    /// Takes all of these outputs of worker `lane`, as [`Merge::push`] does, and leaves none.
    pub fn append(&mut self, lane: usize, outputs: &mut Vec<Output>) {
        self.lanes[lane].pending.append(outputs);
    }

    /// Worker `lane` promises outputs at or after `watermark_ns` only.
    pub fn advance(&mut self, lane: usize, watermark_ns: u64) {
        let lane = &mut self.lanes[lane];
        lane.watermark_ns = lane.watermark_ns.max(watermark_ns);
    }

    /// Whether nothing is held back.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.pending.is_empty())
    }

    /// Passes on what no output to come can precede.
    pub fn drain(&mut self, take: &mut impl FnMut(&Output)) {
        let promised = self.lanes.iter().map(|lane| lane.watermark_ns).min().unwrap_or(0);
        // Outputs carry whole microseconds: one at the watermark may be rounded down below it.
        self.drain_before(promised / 1000 * 1000, take);
    }

    /// Passes on everything: no output is to come.
    pub fn finish(&mut self, take: &mut impl FnMut(&Output)) {
        self.drain_before(u64::MAX, take);
    }

    fn drain_before(&mut self, end_ns: u64, take: &mut impl FnMut(&Output)) {
        self.lanes.iter_mut().for_each(|lane| lane.order(end_ns));
        loop {
            let lanes = self.lanes.iter_mut().filter(|lane| lane.next < lane.due);
            let earlier =
                |a: &&mut Lane, b: &&mut Lane| order(&a.pending[a.next], &b.pending[b.next]);
            let Some(lane) = lanes.min_by(earlier) else { break };
            take(&lane.pending[lane.next]);
            lane.next += 1;
        }
        self.lanes.iter_mut().for_each(|lane| {
            lane.pending.drain(..lane.due);
        });
    }
}

impl Lane {
    /// Puts what is due before `end_ns` in order.
    fn order(&mut self, end_ns: u64) {
        self.due = self.pending.partition_point(|output| output.at_ns < end_ns);
        self.next = 0;
        let due = &mut self.pending[..self.due];
        if !due.is_sorted_by(|a, b| order(a, b).is_le()) {
            // Stable: what one tuple did at one time stays in the order in which it did it.
            due.sort_by(order);
        }
    }
}

fn order(a: &Output, b: &Output) -> Ordering {
    a.at_ns.cmp(&b.at_ns).then_with(|| a.tuple().cmp(&b.tuple()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use xdpwatch_core::finding::Endpoint;
    use xdpwatch_core::tuple::Tuple;
    use xdpwatch_core::watch::Kind;

    fn output(at_ns: u64, port: u16) -> Output {
        let end = Endpoint { addr: [0; 16], port };
        let tuple = Tuple { a: end, b: end, realm: 0 };
        Output { at_ns, key: tuple.key(), kind: Kind::HeldLonger { host: end, longer_us: 0 } }
    }

    fn drained(merge: &mut Merge) -> Vec<(u64, u16)> {
        let mut seen = Vec::new();
        merge.drain(&mut |output| seen.push((output.at_ns, output.tuple().a.port)));
        seen
    }

    #[test]
    fn waits_for_the_slowest_worker() {
        let mut merge = Merge::new(2);
        merge.push(0, output(5000, 1));
        merge.advance(0, 9000);
        assert_eq!(drained(&mut merge), []);
        merge.push(1, output(4000, 2));
        merge.advance(1, 5999);
        assert_eq!(drained(&mut merge), [(4000, 2)]);
        merge.advance(1, 6000);
        assert_eq!(drained(&mut merge), [(5000, 1)]);
    }

    #[test]
    fn one_time_is_ordered_by_tuple() {
        let mut merge = Merge::new(2);
        merge.push(0, output(5000, 9));
        merge.push(1, output(5000, 3));
        let mut seen = Vec::new();
        merge.finish(&mut |output| seen.push(output.tuple().a.port));
        assert_eq!(seen, [3, 9]);
    }
}
