//! What an alert is about, as a rule keeps it for as long as the alert may stand, and the blank
//! findings made of it. A rule fills in cause, severity and facts, and lowers the confidence:
//!
//! ```text
//! Finding { cause, severity, facts, ..subject.finding(&Self::RULE, State::Firing, at_us) }
//! ```

use arrayvec::ArrayVec;

use crate::contest::Contest;
use crate::detect::Seen;
use crate::finding::{About, Confidence, Endpoint, Fact, Facts, Finding, NO_END, Rule, State};
use crate::flow::Flow;
use crate::grounds::{Example, Examples, Grounds, Sign};
use crate::legs::Leg;
use crate::services::Service;
use crate::tuple::{Side, Tuple, vlans};

/// Salt of alert ids, apart from flow ids; the rule's number is added to it.
const ALERT: u64 = 0x616c_6572_7400_0000;

/// Salt of flow ids.
pub const FLOW: u64 = 0x666c_6f77;

/// What an alert is about, and when that began.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    about: About,
    /// Both ends; an end that means nothing is [`NO_END`], and so is the port of a lone address.
    tuple: Tuple,
    client: Side,
    /// When it began, microseconds: part of the alert's id.
    pub began_us: u64,
    vni: u32,
    vlans: ArrayVec<u16, 2>,
}

impl Subject {
    /// The connection that made this step.
    #[must_use]
    pub fn connection(seen: &Seen<'_>) -> Self {
        let Seen { tuple, step, .. } = *seen;
        Self {
            about: About::Connection,
            tuple: *tuple,
            client: step.client,
            began_us: step.flow.first_us,
            vni: step.vni,
            vlans: step.vlans.clone(),
        }
    }

    /// The connection that a contest is about.
    #[must_use]
    pub fn attempt(contest: &Contest) -> Self {
        Self {
            about: About::Connection,
            tuple: contest.tuple,
            client: contest.initiator,
            began_us: contest.first_us,
            vni: contest.syn.vni,
            vlans: vlans(&contest.syn).iter().copied().collect(),
        }
    }

    /// The server's side of this step: a service.
    #[must_use]
    pub fn service(seen: &Seen<'_>, began_us: u64) -> Self {
        let (_, server) = seen.step.ends(seen.tuple);
        Self::of(About::Service, NO_END, server, seen, began_us)
    }

    /// The client's address of this step and its service.
    #[must_use]
    pub fn pair(seen: &Seen<'_>, began_us: u64) -> Self {
        let (client, server) = seen.step.ends(seen.tuple);
        Self::of(About::Pair, address_of(client), server, seen, began_us)
    }

    /// The client's address of this step.
    #[must_use]
    pub fn source(seen: &Seen<'_>, began_us: u64) -> Self {
        let (client, _) = seen.step.ends(seen.tuple);
        Self::of(About::Source, address_of(client), NO_END, seen, began_us)
    }

    /// The feed.
    #[must_use]
    pub fn feed(began_us: u64) -> Self {
        let tuple = Tuple { a: NO_END, b: NO_END, realm: 0 };
        let vlans = ArrayVec::new();
        Self { about: About::Feed, tuple, client: Side::A, began_us, vni: 0, vlans }
    }

    fn of(about: About, src: Endpoint, dst: Endpoint, seen: &Seen<'_>, began_us: u64) -> Self {
        // In no order: it serves as both ends of an alert, never as a key.
        let tuple = Tuple { a: src, b: dst, realm: seen.tuple.realm };
        let vlans = ArrayVec::new();
        Self { about, tuple, client: Side::A, began_us, vni: seen.step.vni, vlans }
    }

    /// The end that sent the SYN; the source.
    #[must_use]
    pub fn src(&self) -> Endpoint {
        self.tuple.end(self.client)
    }

    /// The end that the SYN was sent to; the service.
    #[must_use]
    pub fn dst(&self) -> Endpoint {
        self.tuple.end(self.client.peer())
    }

    /// Address and port of the service, as facts: an event about no connection has no such keys.
    #[must_use]
    pub fn service_facts(&self) -> [(&'static str, Fact); 2] {
        let Endpoint { addr, port } = self.dst();
        [("service.ip", Fact::Address(addr)), ("service.port", Fact::count(port))]
    }

    /// The service, as rules key it.
    #[must_use]
    pub fn service_key(&self) -> Service {
        Service { end: self.dst(), realm: self.tuple.realm }
    }

    /// The connection by its ends.
    #[must_use]
    pub fn leg(&self) -> Leg {
        Leg { client: self.src(), server: self.dst() }
    }

    /// The connection as what a finding rests on; `flow`: as it was tracked at `at_us`, if its packets
    /// may be gone.
    #[must_use]
    pub fn grounds(&self, at_us: u64, sign: Sign, flow: Option<Flow>) -> Option<Grounds> {
        Examples::one(Example { tuple: self.tuple, at_us, sign }).tracked(flow).grounds()
    }

    /// A finding of this rule at `at_us`: sure, of severity 3, without cause and facts. The same rule,
    /// subject and beginning give the same id.
    #[must_use]
    pub fn finding(&self, rule: &'static Rule, state: State, at_us: u64) -> Finding {
        let (id, flow_id) = ids(rule, self.about, &self.tuple, self.began_us);
        Finding {
            rule,
            state,
            id,
            at_ns: at_us * 1000,
            began_ns: self.began_us * 1000,
            about: self.about,
            src: self.src(),
            dst: self.dst(),
            vni: self.vni,
            vlans: self.vlans.clone(),
            flow_id,
            cause: "unknown",
            severity: 3,
            confidence: Confidence::SURE,
            facts: Facts::new(),
            grounds: None,
            evidence: None,
        }
    }
}

/// The ids of an alert and of the connection that it is about, 0 if it is about none.
#[must_use]
pub fn ids(rule: &Rule, about: About, tuple: &Tuple, began_us: u64) -> (u64, u64) {
    let flow_id = match about {
        About::Connection => tuple.id(began_us, FLOW),
        _ => 0,
    };
    (tuple.id(began_us, ALERT | u64::from(rule.id)), flow_id)
}

/// An address without its port.
fn address_of(end: Endpoint) -> Endpoint {
    Endpoint { port: 0, ..end }
}
