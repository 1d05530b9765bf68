//! Joins by time alone, for full proxies: how long after the end of a client's handshake an address
//! opens a connection is learned, against how often that happens by chance; then each request that may
//! be the cause is weighed.
//!
//! At thousands of requests a second another handshake ends within the spread of the lag too often for
//! any join to be sure, however well the lags are known: twice as likely a cause is ten times too little.

use alloc::vec;
use alloc::vec::Vec;

use ahash::RandomState;
use arrayvec::ArrayVec;

use super::Leg;
use crate::finding::Endpoint;
use crate::generations::Generations;

/// Up to here the bins of lags are narrow, microseconds: most proxies are quick.
const QUICK_US: u64 = 1000;

/// Width of a narrow bin, microseconds.
const NARROW_US: u64 = 25;

/// Width of a wide bin, microseconds.
const WIDE_US: u64 = 250;

/// Narrow bins; the wide ones follow.
const NARROW: usize = (QUICK_US / NARROW_US) as usize;

/// Bins of lags.
const BINS: usize = NARROW + ((LAG_MOST_US - QUICK_US) / WIDE_US) as usize;

/// The longest lag that is looked at, microseconds.
pub const LAG_MOST_US: u64 = 8000;

/// Requests weighed for one connection; where there are more, time tells nothing.
pub const CANDIDATES: usize = 128;

/// Services whose requests an address may be answering, as far as followed.
const FRONTS: usize = 4;

/// Addresses remembered, in each of two generations.
const ADDRESSES: usize = 1 << 9;

/// Connections after which the lags are looked at anew; and before the first is believed.
const TRIALS_LEAST: u32 = 256;

/// Counts are halved here, so that what was long ago weighs less.
const TRIALS_MOST: u32 = 2048;

/// How sure a join must be: more than by port, since what chance does is itself only estimated.
pub const SURE: f64 = 0.995;

/// The share of an address's connections that requests must explain.
const SHARE_LEAST: f64 = 0.5;

/// A request that may be the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its connection.
    pub leg: Leg,
    /// When that began, microseconds.
    pub began_us: u64,
    /// How long ago its handshake ended, microseconds.
    pub lag_us: u64,
    /// Whether another connection was joined with it: it teaches what chance is, no more.
    pub taken: bool,
}

/// How long after a service's requests an address opened connections.
#[derive(Clone, Copy, Debug)]
struct Front {
    service: Endpoint,
    lags: [u16; BINS],
    /// What a wide bin holds by chance.
    usual: u16,
}

/// The bin of a lag.
fn bin(lag_us: u64) -> usize {
    let bin = match lag_us.checked_sub(QUICK_US) {
        None => (lag_us / NARROW_US) as usize,
        Some(more_us) => NARROW + (more_us / WIDE_US) as usize,
    };
    bin.min(BINS - 1)
}

impl Front {
    fn new(service: Endpoint) -> Self {
        Self { service, lags: [0; BINS], usual: 0 }
    }

    /// What a bin holds by chance.
    fn by_chance(&self, bin: usize) -> f64 {
        let width_us = if bin < NARROW { NARROW_US } else { WIDE_US };
        f64::from(self.usual.max(1)) * width_us as f64 / WIDE_US as f64
    }

    /// How many of a bin are more than chance, if that is certain (three standard deviations).
    fn beyond(&self, bin: usize) -> Option<f64> {
        let lags = f64::from(self.lags[bin]);
        let beyond = lags - self.by_chance(bin);
        (beyond > 0.0 && beyond * beyond > 9.0 * lags).then_some(beyond)
    }

    /// How many connections its requests explain: as many as are certain.
    fn explained(&self) -> f64 {
        let certain = (0..BINS).filter(|bin| self.beyond(*bin).is_some());
        let (beyond, lags) = certain.fold((0.0, 0u32), |(beyond, lags), bin| {
            (beyond + self.beyond(bin).unwrap_or(0.0), lags + u32::from(self.lags[bin]))
        });
        // Which bins are taken for certain is chosen by the same counts: less two deviations.
        (beyond - 2.0 * f64::from(lags.isqrt())).max(0.0)
    }

    /// Chance fills all bins alike; the true lag, few of them.
    fn learn_chance(&mut self) {
        let mut wide = self.lags;
        let wide = &mut wide[NARROW..];
        let middle = wide.len() / 2;
        self.usual = *wide.select_nth_unstable(middle).1;
    }

    /// How much likelier it is to see a request in this bin if it is the cause than by chance.
    /// `tail` is what a bin holds of the causes whose lag is not known.
    fn weight(&self, bin: usize, tail: f64) -> f64 {
        self.beyond(bin).unwrap_or(tail).max(tail) / self.by_chance(bin)
    }
}

/// What is known of one address that opens connections.
#[derive(Clone, Debug, Default)]
struct Opener {
    trials: u32,
    fronts: ArrayVec<Front, FRONTS>,
}

impl Opener {
    fn learn(&mut self, candidates: &[Candidate]) {
        self.trials += 1;
        for candidate in candidates {
            let service = candidate.leg.server;
            let known = self.fronts.iter().position(|front| front.service == service);
            let at = known.or_else(|| {
                self.fronts.try_push(Front::new(service)).ok().map(|()| self.fronts.len() - 1)
            });
            if let Some(at) = at {
                let lags = &mut self.fronts[at].lags[bin(candidate.lag_us)];
                *lags = lags.saturating_add(1);
            }
        }
        if self.trials.is_multiple_of(TRIALS_LEAST) {
            self.fronts.iter_mut().for_each(Front::learn_chance);
            // A service whose requests explain nothing gives its place to another.
            let trials = f64::from(self.trials);
            self.fronts.retain(|front| front.explained() * 20.0 >= trials);
        }
        if self.trials >= TRIALS_MOST {
            self.trials /= 2;
            for front in &mut self.fronts {
                front.lags.iter_mut().for_each(|lag| *lag /= 2);
                front.usual /= 2;
            }
        }
    }

    /// The likeliest cause and how likely it is: Bayes' rule over every candidate and none of them.
    fn likeliest<'c>(&self, candidates: &'c [Candidate]) -> Option<(&'c Candidate, f64)> {
        if self.trials < TRIALS_LEAST {
            return None;
        }
        let explained: f64 = self.fronts.iter().map(Front::explained).sum();
        let share = explained / f64::from(self.trials);
        if share < SHARE_LEAST {
            return None;
        }
        let unexplained = (1.0 - share).max(0.01);
        let tail = unexplained * f64::from(self.trials) / BINS as f64;
        // What is not explained may also have none of them as its cause.
        let mut all = unexplained;
        let mut best: Option<(&Candidate, f64)> = None;
        for candidate in candidates.iter().filter(|candidate| !candidate.taken) {
            let service = candidate.leg.server;
            let Some(front) = self.fronts.iter().find(|front| front.service == service) else {
                continue;
            };
            let bin = bin(candidate.lag_us);
            let weight = front.weight(bin, tail);
            all += weight;
            let may_be_it = front.beyond(bin).is_some();
            if may_be_it && best.is_none_or(|(_, most)| weight > most) {
                best = Some((candidate, weight));
            }
        }
        best.map(|(candidate, weight)| (candidate, weight / all))
    }
}

/// Connections that an address must open before it is followed: most open few, and each that is
/// followed costs more than all else that is learned of a connection.
const FOLLOWED_FROM: u8 = 16;

/// Addresses counted on their way there, of which those that open most stay.
const COUNTED: usize = 1 << 12;

/// The addresses that open connections.
#[derive(Debug)]
pub struct Timing {
    openers: Generations<[u8; 16], Opener>,
    /// Part of an address's hash, and how often it was seen more than others on its place.
    counted: Vec<(u32, u8)>,
    state: RandomState,
}

impl Timing {
    /// Reserves everything it will ever need.
    pub fn new(state: RandomState) -> Self {
        let openers = Generations::new(ADDRESSES, state.clone());
        Self { openers, counted: vec![(0, 0); COUNTED], state }
    }

    /// An address opened a connection: whether its requests are weighed.
    pub fn follows(&mut self, address: &[u8; 16]) -> bool {
        if self.openers.get(address).is_some() {
            return true;
        }
        let hash = self.state.hash_one(u128::from_ne_bytes(*address));
        let (tag, count) = &mut self.counted[hash as usize % COUNTED];
        let own = (hash >> 32) as u32;
        match *count {
            0 => (*tag, *count) = (own, 1),
            _ if *tag == own => *count += 1,
            _ => *count -= 1,
        }
        let many = *tag == own && *count >= FOLLOWED_FROM;
        if many {
            *count = 0;
            self.openers.insert(*address, Opener::default());
        }
        many
    }

    /// An address that is followed opened a connection, and these requests may be the cause: the
    /// likeliest, and how likely it is.
    pub fn weigh<'c>(
        &mut self,
        address: &[u8; 16],
        candidates: &'c [Candidate],
    ) -> Option<(&'c Candidate, f64)> {
        let opener = self.openers.touch(address)?;
        let likeliest = opener.likeliest(candidates);
        opener.learn(candidates);
        likeliest
    }

    /// Addresses forgotten for others.
    pub fn forgotten(&self) -> u64 {
        self.openers.forgotten()
    }
}
