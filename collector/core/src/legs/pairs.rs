//! What is learned about each pair of an address that opens connections and the server they go to:
//! how often a request explains them. A join is only worth making where the answer is: nearly always.

use ahash::RandomState;

use super::Leg;
use crate::finding::Endpoint;
use crate::generations::Generations;

/// Pairs remembered, in each of two generations.
const PAIRS: usize = 1 << 11;

/// Connections of a pair that were explained before the next is believed.
const HITS_LEAST: u32 = 3;

/// Counts are halved here, so that what was long ago weighs less.
const TRIALS_MOST: u32 = 1024;

/// Ports that clients choose from (Linux: 32768 to 60999): one in so many agrees by chance.
const PORTS: f64 = 28_232.0;

/// How sure a join must be.
pub const SURE: f64 = 0.99;

/// What is known of one pair.
#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    /// Connections opened.
    trials: u32,
    /// Those for which exactly one request had the same port.
    hits: u32,
}

/// The pairs.
#[derive(Debug)]
pub struct Pairs {
    pairs: Generations<([u8; 16], Endpoint), Pair>,
}

impl Pairs {
    /// Reserves everything it will ever need.
    pub fn new(state: RandomState) -> Self {
        Self { pairs: Generations::new(PAIRS, state) }
    }

    /// Counts a connection, for which exactly one recent request with the same port was found or not;
    /// `recent` requests came in the time in which it was looked for. If that one is to be believed:
    /// how surely, in percent.
    pub fn by_port(&mut self, leg: &Leg, is_one: bool, recent: u64) -> Option<u8> {
        let key = (leg.client.addr, leg.server);
        // Most addresses that open connections are no balancer's: they get no place before a hit.
        if is_one && self.pairs.get(&key).is_none() {
            self.pairs.insert(key, Pair::default());
        }
        let pair = self.pairs.touch(&key)?;
        pair.trials += 1;
        pair.hits += u32::from(is_one);
        if pair.trials >= TRIALS_MOST {
            pair.trials /= 2;
            pair.hits /= 2;
        }
        if !is_one || pair.hits < HITS_LEAST {
            return None;
        }
        let share = f64::from(pair.hits) / f64::from(pair.trials);
        let by_chance = recent as f64 / PORTS;
        let likely = share / (share + (1.0 - share).max(0.01) * by_chance);
        percent_if_sure(likely, SURE).filter(|_| share >= 0.5)
    }

    /// Pairs forgotten for newer ones.
    pub fn forgotten(&self) -> u64 {
        self.pairs.forgotten()
    }
}

/// This likelihood in percent, rounded down, if it is enough for a join: `least`.
pub fn percent_if_sure(likely: f64, least: f64) -> Option<u8> {
    (likely >= least).then_some(((likely * 100.0) as u8).min(99))
}
