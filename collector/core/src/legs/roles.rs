//! Who is what behind a balancer, configured or learned from joined legs: each service that clients call, the
//! addresses its balancer calls from, and the servers called.

use alloc::vec::Vec;

use arrayvec::ArrayVec;

use super::{Given, Leg};
use crate::finding::Endpoint;

/// Services remembered.
const BALANCERS: usize = 64;

/// Addresses of a pool, and servers, remembered for each.
const MEMBERS: usize = 16;

/// An address or server of a balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<T> {
    /// Which.
    pub end: T,
    /// Connections joined.
    pub connections: u64,
    /// Whether the configuration names it.
    pub configured: bool,
}

/// One balanced service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balancer {
    /// What clients call.
    pub vip: Endpoint,
    /// Whether the configuration names it.
    pub configured: bool,
    /// Connections joined.
    pub joined: u64,
    /// Of those, by numbers of the segments themselves; the others by time.
    pub by_numbers: u64,
    /// Source-NAT addresses and the connections from each. Empty where clients' addresses are kept.
    pub pool: ArrayVec<Member<[u8; 16]>, MEMBERS>,
    /// Servers and the connections to each.
    pub servers: ArrayVec<Member<Endpoint>, MEMBERS>,
}

/// The balancers that are configured, then those that traffic showed, in order of their appearance.
#[derive(Debug)]
pub struct Roles {
    balancers: Vec<Balancer>,
    not_kept: u64,
}

impl Roles {
    /// Reserves everything it will ever need.
    pub fn new(given: &Given) -> Self {
        let mut roles = Self { balancers: Vec::with_capacity(BALANCERS), not_kept: 0 };
        given.vips.iter().for_each(|vip| _ = roles.open(*vip, true));
        roles
    }

    /// Other balancers are configured from now on; what was counted stays.
    pub fn configure(&mut self, given: &Given) {
        for balancer in &mut self.balancers {
            balancer.configured = given.is_vip(&balancer.vip);
            for member in &mut balancer.pool {
                member.configured = given.is_source_nat(&member.end);
            }
            for member in &mut balancer.servers {
                member.configured = given.is_server(&member.end);
            }
        }
        for vip in &given.vips {
            if !self.balancers.iter().any(|balancer| balancer.vip == *vip) {
                self.open(*vip, true);
            }
        }
    }

    /// A client's connection was joined with one to a server.
    pub fn learn(&mut self, front: &Leg, back: &Leg, by_numbers: bool, given: &Given) {
        let known = self.balancers.iter().position(|balancer| balancer.vip == front.server);
        let Some(at) = known.or_else(|| self.open(front.server, false)) else {
            self.not_kept += 1;
            return;
        };
        let balancer = &mut self.balancers[at];
        balancer.joined += 1;
        balancer.by_numbers += u64::from(by_numbers);
        let translated = back.client.addr != front.client.addr;
        let (from, to) = (back.client.addr, back.server);
        let pool_kept =
            !translated || count(&mut balancer.pool, from, || given.is_source_nat(&from));
        let server_kept = count(&mut balancer.servers, to, || given.is_server(&to));
        self.not_kept += u64::from(!pool_kept) + u64::from(!server_kept);
    }

    fn open(&mut self, vip: Endpoint, configured: bool) -> Option<usize> {
        let (pool, servers) = (ArrayVec::new(), ArrayVec::new());
        let room = self.balancers.len() < BALANCERS;
        room.then(|| {
            let balancer = Balancer { vip, configured, joined: 0, by_numbers: 0, pool, servers };
            self.balancers.push(balancer);
            self.balancers.len() - 1
        })
    }

    /// The balancers.
    pub fn balancers(&self) -> &[Balancer] {
        &self.balancers
    }

    /// Services, addresses and servers that had no place, by connection.
    pub fn not_kept(&self) -> u64 {
        self.not_kept
    }
}

/// Counts one more of a member; whether it has a place.
fn count<T: PartialEq>(
    members: &mut ArrayVec<Member<T>, MEMBERS>,
    end: T,
    configured: impl FnOnce() -> bool,
) -> bool {
    if let Some(member) = members.iter_mut().find(|known| known.end == end) {
        member.connections += 1;
        return true;
    }
    let member = Member { end, connections: 1, configured: configured() };
    members.try_push(member).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::Prefix;

    fn end(last: u8, port: u16) -> Endpoint {
        Endpoint { addr: [last; 16], port }
    }

    #[test]
    fn pool_and_servers_are_learned_and_bounded() {
        let vip = end(53, 443);
        let servers = alloc::vec![(Prefix::new([20; 16], 128), None)];
        let given = Given { vips: alloc::vec![vip], servers, ..Given::default() };
        let mut roles = Roles::new(&given);
        let front = Leg { client: end(1, 40_000), server: end(51, 80) };
        for n in 0..20u8 {
            let back = Leg { client: end(100 + n, 40_000), server: end(20 + n % 3, 8080) };
            roles.learn(&front, &back, n % 2 == 0, &given);
        }
        // A balancer that keeps the client's address has no pool.
        let kept = Leg { client: front.client, server: end(20, 8080) };
        roles.learn(&Leg { server: end(52, 80), ..front }, &kept, true, &given);
        let [configured, first, second] = roles.balancers() else { panic!("three services") };
        assert!(configured.configured && configured.vip == vip && configured.joined == 0);
        assert_eq!((first.joined, first.by_numbers), (20, 10));
        assert_eq!((first.pool.len(), first.servers.len()), (16, 3));
        let member =
            |n, connections, configured| Member { end: end(n, 8080), connections, configured };
        assert_eq!(first.servers[..2], [member(20, 7, true), member(21, 7, false)]);
        assert!(!first.configured);
        assert_eq!((second.pool.len(), second.joined), (0, 1));
        assert_eq!(roles.not_kept(), 4);
        let now = Given { vips: alloc::vec![end(51, 80), end(54, 80)], ..Given::default() };
        roles.configure(&now);
        let shown: Vec<_> =
            roles.balancers().iter().map(|b| (b.vip.addr[0], b.configured, b.joined)).collect();
        assert_eq!(shown, [(53, false, 0), (51, true, 20), (52, false, 1), (54, true, 0)]);
        assert!(!roles.balancers()[1].servers[0].configured);
    }
}
