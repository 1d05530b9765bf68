//! Whether two equal segments on two legs are one that a balancer passed on.
//!
//! Where both ends' addresses were changed, they are. Where one end stayed as it is, a scanner (one
//! number from one port to many) and a flood (one from many to one) look the same: there it takes
//! twins in both directions, once for that balancer, for nobody answers them with one number.

use ahash::RandomState;

use super::Leg;
use crate::finding::Endpoint;
use crate::generations::Generations;

/// Balancers that leave one end as it is, remembered in each of two generations.
const BALANCERS: usize = 1 << 10;

/// What a balancer changes: from the service to its server, or from its own address to the server.
type Change = (Endpoint, Endpoint);

/// Directions in which twins were seen.
#[derive(Clone, Copy, Debug, Default)]
struct Directions {
    from_client: bool,
    from_server: bool,
}

/// The balancers that leave one end as it is.
#[derive(Debug)]
pub struct Twins {
    seen: Generations<Change, Directions>,
}

impl Twins {
    /// Reserves everything it will ever need.
    pub fn new(state: RandomState) -> Self {
        Self { seen: Generations::new(BALANCERS, state) }
    }

    /// Whether this pair of equal segments is to be believed.
    pub fn believes(&mut self, front: &Leg, back: &Leg, from_client: bool) -> bool {
        let change = if front.client.addr == back.client.addr {
            (front.server, back.server)
        } else if front.server == back.server {
            (Endpoint { port: 0, ..back.client }, back.server)
        } else {
            return true;
        };
        if self.seen.get(&change).is_none() {
            self.seen.insert(change, Directions::default());
        }
        let Some(directions) = self.seen.touch(&change) else { return false };
        directions.from_client |= from_client;
        directions.from_server |= !from_client;
        directions.from_client && directions.from_server
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(last: u8, port: u16) -> Endpoint {
        Endpoint { addr: [last; 16], port }
    }

    fn leg(client: u8, server: u8) -> Leg {
        Leg { client: end(client, 40_000), server: end(server, 80) }
    }

    fn twins() -> Twins {
        Twins::new(RandomState::with_seeds(1, 2, 3, 4))
    }

    #[test]
    fn both_ends_changed_is_enough() {
        assert!(twins().believes(&leg(1, 51), &leg(9, 20), true));
    }

    #[test]
    fn one_end_changed_takes_an_answer_too() {
        for (front, back) in [(leg(1, 51), leg(1, 20)), (leg(1, 20), leg(9, 20))] {
            let mut twins = twins();
            assert!(!twins.believes(&front, &back, true), "a scanner's or a flood's");
            assert!(!twins.believes(&front, &back, true), "however often");
            assert!(twins.believes(&front, &back, false), "the answer is passed on as well");
            assert!(twins.believes(&front, &back, true), "known from here on");
        }
    }
}
