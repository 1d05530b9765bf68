//! What the feed shows of each service: both directions, or only one. A mirror of one direction shows
//! clients that go on in connections whose server never spoke; there silence proves nothing.

use ahash::RandomState;
use hashbrown::HashMap;

use crate::finding::Endpoint;
use crate::flow::State;
use crate::step::{Step, What};
use crate::tuple::Tuple;

/// Services remembered.
const SERVICES: usize = 1 << 13;

/// Connections after which older ones count half.
const MEMORY: u32 = 1 << 10;

/// What a connection that went on past its SYN shows of the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Both ends spoke.
    Both,
    /// It went on although its server was never seen.
    ClientOnly,
    /// It went on although its client was never seen.
    ServerOnly,
}

impl Shown {
    /// What this step shows, if it tells.
    #[must_use]
    pub fn by(step: &Step) -> Option<Self> {
        let (client, server) = (step.client, step.client.peer());
        let seen = |side| step.flow.marks.seen(side);
        match (step.what, step.before) {
            (What::Moved, Some(_)) if !step.is_from_client() && seen(client) => Some(Self::Both),
            (What::Moved, Some(State::SynSent)) if !seen(server) => Some(Self::ClientOnly),
            (What::Moved, Some(State::SynReceived)) if !seen(client) => Some(Self::ServerOnly),
            _ => None,
        }
    }
}

/// Whether an answer would have been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// Answers of this service, or else of most others, were seen.
    Visible,
    /// Its clients go on as if answered, and no answer was seen.
    NotVisible,
    /// Nothing was seen yet that tells.
    Unknown,
}

#[derive(Clone, Copy, Debug, Default)]
struct Balance {
    both: u32,
    blind: u32,
}

impl Balance {
    fn add(&mut self, blind: bool) {
        *(if blind { &mut self.blind } else { &mut self.both }) += 1;
        if self.both + self.blind >= MEMORY {
            self.both /= 2;
            self.blind /= 2;
        }
    }

    fn answers(self) -> Option<Answers> {
        match self {
            Self { both: 0, blind: 0 } => None,
            Self { both, blind } if blind > both => Some(Answers::NotVisible),
            _ => Some(Answers::Visible),
        }
    }
}

/// What was seen of the services so far. All memory is bounded: when full, the feed at large speaks
/// for new services.
#[derive(Debug)]
pub struct Sight {
    services: HashMap<Endpoint, Balance, RandomState>,
    feed: Balance,
}

impl Sight {
    /// Reserves everything it will ever need.
    #[must_use]
    pub fn new(state: RandomState) -> Self {
        let services = HashMap::with_capacity_and_hasher(SERVICES, state);
        Self { services, feed: Balance::default() }
    }

    /// Takes the next step.
    pub fn see(&mut self, step: &Step, tuple: &Tuple) {
        let blind = match Shown::by(step) {
            Some(Shown::ClientOnly) => true,
            Some(Shown::Both) => false,
            _ => return,
        };
        self.feed.add(blind);
        let service = step.ends(tuple).1;
        if let Some(balance) = self.services.get_mut(&service) {
            balance.add(blind);
        } else if self.services.len() < SERVICES {
            self.services.entry(service).or_default().add(blind);
        }
    }

    /// Whether an answer of this service would be seen.
    #[must_use]
    pub fn answers(&self, service: &Endpoint) -> Answers {
        let own = self.services.get(service).and_then(|balance| balance.answers());
        own.or_else(|| self.feed.answers()).unwrap_or(Answers::Unknown)
    }
}
