//! What is configured of balancers: the services that clients call, the addresses that balancers call
//! from, and the servers. What is not configured stays open, and is learned.

use alloc::vec::Vec;

use super::Leg;
use crate::finding::Endpoint;
use crate::prefix::Prefix;

/// The balancers as far as they are configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// Services that clients call.
    pub vips: Vec<Endpoint>,
    /// Addresses that balancers call servers from.
    pub source_nat: Vec<Prefix>,
    /// Servers, each with its port or on any.
    pub servers: Vec<(Prefix, Option<u16>)>,
}

impl Given {
    /// Whether this is a balanced service.
    #[must_use]
    pub fn is_vip(&self, end: &Endpoint) -> bool {
        self.vips.contains(end)
    }

    /// Whether balancers call servers from this address.
    #[must_use]
    pub fn is_source_nat(&self, addr: &[u8; 16]) -> bool {
        self.source_nat.iter().any(|prefix| prefix.contains(addr))
    }

    /// Whether this is a balancer's server.
    #[must_use]
    pub fn is_server(&self, end: &Endpoint) -> bool {
        let is_it = |(prefix, port): &(Prefix, Option<u16>)| {
            prefix.contains(&end.addr) && port.is_none_or(|port| port == end.port)
        };
        self.servers.iter().any(is_it)
    }

    /// Whether a balancer opens this leg, by what is configured of those that do; `None` if nothing is.
    fn is_back(&self, leg: &Leg) -> Option<bool> {
        let from = self.source_nat.is_empty() || self.is_source_nat(&leg.client.addr);
        let to = self.servers.is_empty() || self.is_server(&leg.server);
        (!self.source_nat.is_empty() || !self.servers.is_empty()).then_some(from && to)
    }

    /// Whether clients call a balancer on this leg; `None` if no service is configured.
    fn is_front(&self, leg: &Leg) -> Option<bool> {
        (!self.vips.is_empty()).then(|| self.is_vip(&leg.server))
    }

    /// Whether the request on `front` may be the cause of the connection on `back`: what is a
    /// balancer's one side by configuration goes with the other side only.
    #[must_use]
    pub fn may_join(&self, front: &Leg, back: &Leg) -> bool {
        let (is_front, is_back) = (self.is_front(front), self.is_back(back));
        let sides_agree = is_front.is_none() || is_back.is_none() || is_front == is_back;
        let not_turned = self.is_back(front) != Some(true) || is_front == Some(true);
        sides_agree && not_turned && (self.is_front(back) != Some(true) || is_back == Some(true))
    }

    /// Whether both sides are configured: what clients of this leg ask for needs not to be learned.
    #[must_use]
    pub fn is_known_back(&self, leg: &Leg) -> bool {
        !self.vips.is_empty() && self.is_back(leg) == Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn end(last: u8, port: u16) -> Endpoint {
        Endpoint { addr: [last; 16], port }
    }

    fn leg(client: u8, server: Endpoint) -> Leg {
        Leg { client: end(client, 40_000), server }
    }

    fn host(last: u8) -> Prefix {
        Prefix::new([last; 16], 128)
    }

    #[test]
    fn nothing_configured_forbids_nothing() {
        let open = Given::default();
        assert!(open.may_join(&leg(1, end(51, 80)), &leg(9, end(20, 8080))));
        assert!(!open.is_known_back(&leg(9, end(20, 8080))));
    }

    #[test]
    fn both_sides_go_together() {
        let servers = vec![(host(20), Some(8080)), (host(21), None)];
        let given = Given { vips: vec![end(51, 80)], source_nat: vec![host(9)], servers };
        let (front, back) = (leg(1, end(51, 80)), leg(9, end(20, 8080)));
        let (other_front, other_back) = (leg(1, end(52, 80)), leg(8, end(30, 80)));
        assert!(given.may_join(&front, &back) && given.is_known_back(&back));
        assert!(given.may_join(&front, &leg(9, end(21, 1))));
        assert!(!given.may_join(&front, &other_back), "not from the balancer's address");
        assert!(!given.may_join(&other_front, &back), "not for the configured service");
        assert!(given.may_join(&other_front, &other_back), "another balancer is learned");
        assert!(!given.may_join(&front, &leg(9, end(20, 80))), "not on the server's port");
    }

    #[test]
    fn one_side_alone_tells_what_it_is_not() {
        let vip = Given { vips: vec![end(51, 80)], ..Given::default() };
        let (front, back) = (leg(1, end(51, 80)), leg(9, end(20, 8080)));
        assert!(vip.may_join(&front, &back));
        assert!(!vip.may_join(&back, &front), "a call of the service is no server's leg");
        let pool = Given { source_nat: vec![host(9)], ..Given::default() };
        assert!(pool.may_join(&front, &back));
        assert!(!pool.may_join(&back, &front), "what the balancer opens is no request");
    }
}
