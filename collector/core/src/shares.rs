//! How large a share of a service's connections is in trouble: what a healthy network or mirror loses
//! anyway is no alarm, however many connections there are.

use ahash::RandomState;
use hashbrown::HashMap;

use crate::services::Service;

/// Services counted.
const SERVICES: usize = 1 << 12;

/// Fewer than one in so many is what networks and mirrors lose.
const LEAST: u64 = 100;

/// Counts of this period and of the one before.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    period: u64,
    all: [u32; 2],
    troubled: [u32; 2],
}

/// Shares by service.
#[derive(Debug)]
pub struct Shares {
    period_us: u64,
    services: HashMap<Service, Share, RandomState>,
    overflow: u64,
}

impl Shares {
    /// Reserves everything it will ever need. Two periods are looked at.
    #[must_use]
    pub fn new(period_us: u64, state: RandomState) -> Self {
        let services = HashMap::with_capacity_and_hasher(2 * SERVICES, state);
        Self { period_us: period_us.max(1), services, overflow: 0 }
    }

    /// Periods are this long from now on; the counts of earlier ones count for nothing.
    pub fn retune(&mut self, period_us: u64) {
        if self.period_us != period_us.max(1) {
            self.period_us = period_us.max(1);
            self.services.clear();
        }
    }

    /// Counts a connection.
    pub fn one(&mut self, service: Service, at_us: u64) {
        if let Some(share) = self.share(service, at_us) {
            share.all[0] = share.all[0].saturating_add(1);
        }
    }

    /// Counts one in trouble. Whether those are more than what is lost anyway; yes if there was no place
    /// to count.
    pub fn troubled(&mut self, service: Service, at_us: u64) -> bool {
        let Some(share) = self.share(service, at_us) else { return true };
        share.troubled[0] = share.troubled[0].saturating_add(1);
        let sum = |counts: [u32; 2]| u64::from(counts[0]) + u64::from(counts[1]);
        sum(share.troubled) * LEAST >= sum(share.all)
    }

    /// Connections that could not be counted because all places were taken.
    #[must_use]
    pub fn overflow(&self) -> u64 {
        self.overflow
    }

    /// The service's counts, brought to the period of `at_us`.
    fn share(&mut self, service: Service, at_us: u64) -> Option<&mut Share> {
        let period = at_us / self.period_us;
        if self.services.len() >= SERVICES && !self.services.contains_key(&service) {
            self.services.retain(|_, share| share.period + 1 >= period);
            if self.services.len() >= SERVICES {
                self.overflow += 1;
                return None;
            }
        }
        let share = self.services.entry(service).or_default();
        match period.saturating_sub(share.period) {
            0 => {}
            1 => {
                share.all = [0, share.all[0]];
                share.troubled = [0, share.troubled[0]];
            }
            _ => *share = Share::default(),
        }
        share.period = share.period.max(period);
        Some(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::NO_END;

    #[test]
    fn one_in_a_hundred_is_trouble_and_old_periods_are_forgotten() {
        let mut shares = Shares::new(1000, RandomState::with_seeds(1, 2, 3, 4));
        let service = Service { end: NO_END, realm: 0 };
        (0..200).for_each(|at| shares.one(service, at));
        assert!(!shares.troubled(service, 500), "one of 200");
        assert!(shares.troubled(service, 1500), "two of 200, in the period before");
        assert!(shares.troubled(service, 5000), "one of none");
        assert_eq!(shares.overflow(), 0);
    }
}
