//! Who is what behind a balancer, learned from joined legs: each service that clients call, the
//! addresses its balancer calls from, and the servers called.

use alloc::vec::Vec;

use arrayvec::ArrayVec;

use super::Leg;
use crate::finding::Endpoint;

/// Services remembered.
const BALANCERS: usize = 64;

/// Addresses of a pool, and servers, remembered for each.
const MEMBERS: usize = 16;

/// One balanced service, as learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balancer {
    /// What clients call.
    pub vip: Endpoint,
    /// Connections joined.
    pub joined: u64,
    /// Of those, by numbers of the segments themselves; the others by time.
    pub by_numbers: u64,
    /// Source-NAT addresses and the connections from each. Empty where clients' addresses are kept.
    pub pool: ArrayVec<([u8; 16], u64), MEMBERS>,
    /// Servers and the connections to each.
    pub servers: ArrayVec<(Endpoint, u64), MEMBERS>,
}

/// The balancers that traffic showed, in order of their appearance.
#[derive(Debug)]
pub struct Roles {
    balancers: Vec<Balancer>,
    not_kept: u64,
}

impl Roles {
    /// Reserves everything it will ever need.
    pub fn new() -> Self {
        Self { balancers: Vec::with_capacity(BALANCERS), not_kept: 0 }
    }

    /// A client's connection was joined with one to a server.
    pub fn learn(&mut self, front: &Leg, back: &Leg, by_numbers: bool) {
        let known = self.balancers.iter().position(|balancer| balancer.vip == front.server);
        let Some(at) = known.or_else(|| self.open(front.server)) else {
            self.not_kept += 1;
            return;
        };
        let balancer = &mut self.balancers[at];
        balancer.joined += 1;
        balancer.by_numbers += u64::from(by_numbers);
        let translated = back.client.addr != front.client.addr;
        let pool_kept = !translated || count(&mut balancer.pool, back.client.addr);
        let server_kept = count(&mut balancer.servers, back.server);
        self.not_kept += u64::from(!pool_kept) + u64::from(!server_kept);
    }

    fn open(&mut self, vip: Endpoint) -> Option<usize> {
        let (pool, servers) = (ArrayVec::new(), ArrayVec::new());
        let room = self.balancers.len() < BALANCERS;
        room.then(|| {
            self.balancers.push(Balancer { vip, joined: 0, by_numbers: 0, pool, servers });
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
fn count<T: PartialEq>(members: &mut ArrayVec<(T, u64), MEMBERS>, member: T) -> bool {
    if let Some((_, count)) = members.iter_mut().find(|(known, _)| *known == member) {
        *count += 1;
        return true;
    }
    members.try_push((member, 1)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(last: u8, port: u16) -> Endpoint {
        Endpoint { addr: [last; 16], port }
    }

    #[test]
    fn pool_and_servers_are_learned_and_bounded() {
        let mut roles = Roles::new();
        let front = Leg { client: end(1, 40_000), server: end(51, 80) };
        for n in 0..20u8 {
            let back = Leg { client: end(100 + n, 40_000), server: end(20 + n % 3, 8080) };
            roles.learn(&front, &back, n % 2 == 0);
        }
        // A balancer that keeps the client's address has no pool.
        let kept = Leg { client: front.client, server: end(20, 8080) };
        roles.learn(&Leg { server: end(52, 80), ..front }, &kept, true);
        let [first, second] = roles.balancers() else { panic!("two services") };
        assert_eq!((first.joined, first.by_numbers), (20, 10));
        assert_eq!((first.pool.len(), first.servers.len()), (16, 3));
        assert_eq!(first.servers[0], (end(20, 8080), 7));
        assert_eq!((second.pool.len(), second.joined), (0, 1));
        assert_eq!(roles.not_kept(), 4);
    }
}
