//! Findings in, changes of groups out: a thousand equal collisions are one alert with a count.
//!
//! A group is a rule, a service and a source pool; cause and severity are annotations. It is told of
//! at once when it begins, then at most once per interval if something changed, soon when it got
//! worse, and once more when all of it is resolved and quiet. Time comes in; all memory is bounded.

pub mod config;
pub mod pool;
pub mod tally;

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use ahash::RandomState;
use hashbrown::HashMap;

use crate::finding::{About, Endpoint, Fact, Finding, Rule, State};
use crate::tuple::Fnv;
pub use config::Config;
use pool::{Pool, pool};
use tally::Tally;

/// Groups at a time; more fall into the groups of their whole service or rule.
const GROUPS: usize = 1 << 14;

/// Pools of one service that have groups of their own: sources may be forged.
const POOLS_PER_SERVICE: u32 = 64;

/// Findings whose end is awaited.
const MEMBERS: usize = 1 << 17;

/// Salts of the ids that leave the process, apart from those of tuples.
const KEY: u64 = 0x6772_6f75_7000_0001;
const ID: u64 = 0x6772_6f75_7000_0002;

/// What makes a group one. `None` where the finding is not about it, or too many were told apart
/// already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Identity {
    rule: u32,
    service: Option<Endpoint>,
    pool: Option<Pool>,
}

impl Identity {
    /// Stable hash under a fixed key, with what tells episodes apart.
    fn hash(&self, salt: u64, first_us: u64) -> u64 {
        let mut hash = Fnv::new(salt);
        hash.add(&self.rule.to_be_bytes());
        if let Some(Endpoint { addr, port }) = self.service {
            hash.add(&addr);
            hash.add(&port.to_be_bytes());
        }
        if let Some(Pool { addr, prefix }) = self.pool {
            hash.add(&addr);
            hash.add(&[prefix]);
        }
        hash.add(&first_us.to_be_bytes());
        hash.finish()
    }
}

/// A group of findings.
#[derive(Clone, Debug)]
pub struct Group {
    /// Of this episode, from the first finding to `resolved`.
    pub id: u64,
    /// The same for every episode of the same rule, service and pool.
    pub key: u64,
    /// Which rule.
    pub rule: &'static Rule,
    /// The server's address and port; `None` where findings are not about one, and in the
    /// group of all that did not fit.
    pub service: Option<Endpoint>,
    /// Where the clients are; `None` where findings are not about one, and in the group of all
    /// that did not fit.
    pub pool: Option<Pool>,
    /// Time of the first finding, nanoseconds since the Unix epoch.
    pub first_ns: u64,
    /// Time of the last finding.
    pub last_ns: u64,
    /// Counts what was told: 1 at the beginning.
    pub revision: u64,
    /// Its findings.
    pub tally: Tally,
    told_ns: u64,
    told_severity: u8,
    /// Whether something came since it was last told of.
    has_news: bool,
    /// When it got worse than was told.
    worse_ns: Option<u64>,
    due_ns: u64,
}

/// Something to tell about a group.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// When: the finding's time, or the deadline that brought it.
    pub at_ns: u64,
    /// Firing, or at last resolved.
    pub state: State,
    /// Whether anything came since the last time: a `resolved` may bring nothing but the end.
    pub has_news: bool,
    /// The group as it is now.
    pub group: &'a Group,
}

/// What grouping counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Groups begun.
    pub groups: u64,
    /// Findings that fell into their service's or rule's group, because places were taken.
    pub overflow: u64,
    /// Findings whose end could not be awaited, because all places were taken.
    pub members_full: u64,
}

impl Counts {
    /// Name and value of each, in the order printed.
    pub fn each(&self, mut f: impl FnMut(&'static str, u64)) {
        f("begun", self.groups);
        f("overflow", self.overflow);
        f("members_full", self.members_full);
    }

    /// Adds another vantage point's.
    pub fn add(&mut self, other: &Self) {
        self.groups += other.groups;
        self.overflow += other.overflow;
        self.members_full += other.members_full;
    }
}

/// A finding that still fires: its group, and the cause it was counted with.
#[derive(Clone, Copy, Debug)]
struct Member {
    identity: Identity,
    cause: &'static str,
}

/// All groups of one vantage point.
#[derive(Debug)]
pub struct Groups {
    config: Config,
    groups: HashMap<Identity, Group, RandomState>,
    pools: HashMap<(u32, Option<Endpoint>), u32, RandomState>,
    members: HashMap<u64, Member, RandomState>,
    /// Deadlines, then ids: the order in which what falls together is told.
    due: BTreeSet<(u64, u64, Identity)>,
    counts: Counts,
}

impl Groups {
    /// None yet; seeds as for the tables.
    #[must_use]
    pub fn new(config: Config, seeds: [u64; 4]) -> Self {
        let state = RandomState::with_seeds(seeds[0], seeds[1], seeds[2], seeds[3]);
        Self {
            config,
            groups: HashMap::with_hasher(state.clone()),
            pools: HashMap::with_hasher(state.clone()),
            members: HashMap::with_hasher(state),
            due: BTreeSet::new(),
            counts: Counts::default(),
        }
    }

    /// Other intervals count from now on. What groups are about stays as it began: with other prefixes
    /// the groups that stand would never meet their findings again.
    pub fn retune(&mut self, config: Config, now_ns: u64, tell: &mut impl FnMut(Change<'_>)) {
        self.tick(now_ns, tell);
        self.config = Config { prefixes: self.config.prefixes, ..config };
        let all: Vec<_> = self.groups.keys().copied().collect();
        for identity in all {
            self.schedule(identity);
            let Some(group) = self.groups.get_mut(&identity) else { continue };
            // With a shorter interval it may have been due already: nothing is told in the past.
            self.due.remove(&(group.due_ns, group.id, identity));
            group.due_ns = group.due_ns.max(now_ns);
            self.due.insert((group.due_ns, group.id, identity));
        }
    }

    /// Takes the next finding in order of time, after what was due before it. Returns its group's id.
    pub fn handle(&mut self, finding: &Finding, tell: &mut impl FnMut(Change<'_>)) -> u64 {
        self.tick(finding.at_ns, tell);
        let member = match finding.state {
            State::Firing => self.members.get_mut(&finding.id).map(|member| {
                let before = *member;
                member.cause = finding.cause;
                before
            }),
            State::Resolved => self.members.remove(&finding.id),
        };
        let identity = member.map_or_else(|| self.identity(finding), |member| member.identity);
        let is_awaited = member.is_none() && self.awaits_end(finding, identity);
        let (group, is_new) = self.group(identity, finding);
        match member {
            Some(member) => group.tally.change(finding, member.cause),
            // Its beginning was counted when there was no place to remember it.
            None if finding.state == State::Resolved && !is_new => {
                group.tally.change(finding, finding.cause);
            }
            None => group.tally.add(finding),
        }
        group.tally.open += u64::from(is_awaited);
        group.tally.open -= u64::from(member.is_some() && finding.state == State::Resolved);
        group.last_ns = finding.at_ns;
        group.has_news = true;
        if group.tally.severity < group.told_severity && group.worse_ns.is_none() {
            group.worse_ns = Some(finding.at_ns);
        }
        let id = group.id;
        if is_new {
            group.told(finding.at_ns);
            tell(Change { at_ns: finding.at_ns, state: State::Firing, has_news: true, group });
        }
        self.schedule(identity);
        id
    }

    /// Tells what is due at or before `now_ns`.
    pub fn tick(&mut self, now_ns: u64, tell: &mut impl FnMut(Change<'_>)) {
        while let Some(&(at_ns, _, identity)) = self.due.first()
            && at_ns <= now_ns
        {
            self.due.pop_first();
            let Some(group) = self.groups.get_mut(&identity) else { continue };
            if at_ns >= group.end_ns(&self.config) {
                self.resolve(identity, at_ns, tell);
            } else {
                group.told(at_ns);
                tell(Change { at_ns, state: State::Firing, has_news: true, group });
                self.schedule(identity);
            }
        }
    }

    /// End of input at `now_ns`: every group is resolved.
    pub fn finish(&mut self, now_ns: u64, tell: &mut impl FnMut(Change<'_>)) {
        self.tick(now_ns, tell);
        let mut rest: Vec<_> = self
            .groups
            .iter()
            .map(|(identity, group)| (group.first_ns, group.id, *identity))
            .collect();
        rest.sort_unstable_by_key(|(first_ns, id, _)| (*first_ns, *id));
        for (_, _, identity) in rest {
            let at_ns = self.groups[&identity].last_ns.max(now_ns);
            self.resolve(identity, at_ns, tell);
        }
        self.due.clear();
        self.members.clear();
    }

    /// Groups that stand, in no order.
    pub fn standing(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// Counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Where a new finding belongs, as far as places last.
    fn identity(&mut self, finding: &Finding) -> Identity {
        let rule = finding.rule.id;
        let about = finding.about;
        let has_service = matches!(about, About::Connection | About::Pair | About::Service);
        let has_source = matches!(about, About::Connection | About::Pair | About::Source);
        let service = has_service.then_some(finding.dst);
        let source = has_source.then(|| pool(finding.src.addr, self.config.prefixes));
        let exact = Identity { rule, service, pool: source };
        let of_service = Identity { pool: None, ..exact };
        if self.groups.contains_key(&exact) {
            return exact;
        }
        let pools = self.pools.get(&(rule, service)).copied().unwrap_or(0);
        let has_place = self.groups.len() < GROUPS;
        if has_place && pools < POOLS_PER_SERVICE {
            return exact;
        }
        self.counts.overflow += 1;
        if has_place || self.groups.contains_key(&of_service) {
            return of_service;
        }
        // One group per rule more than there are places: nothing is left untold.
        Identity { service: None, ..of_service }
    }

    fn group(&mut self, identity: Identity, finding: &Finding) -> (&mut Group, bool) {
        let is_new = !self.groups.contains_key(&identity);
        if is_new {
            self.counts.groups += 1;
            if identity.pool.is_some() {
                *self.pools.entry((identity.rule, identity.service)).or_insert(0) += 1;
            }
        }
        let group = self.groups.entry(identity).or_insert_with(|| Group::new(identity, finding));
        (group, is_new)
    }

    /// Whether this finding's end is to come and is remembered for. One that begins connected
    /// (accepted reuse) has no end.
    fn awaits_end(&mut self, finding: &Finding, identity: Identity) -> bool {
        let is_over = finding.fact("outcome") == Some(Fact::Word("connected"));
        if finding.state == State::Resolved || is_over {
            return false;
        }
        if self.members.len() >= MEMBERS {
            self.counts.members_full += 1;
            return false;
        }
        self.members.insert(finding.id, Member { identity, cause: finding.cause });
        true
    }

    fn schedule(&mut self, identity: Identity) {
        let Some(group) = self.groups.get_mut(&identity) else { return };
        self.due.remove(&(group.due_ns, group.id, identity));
        group.due_ns = group.end_ns(&self.config).min(group.update_ns(&self.config));
        self.due.insert((group.due_ns, group.id, identity));
    }

    fn resolve(&mut self, identity: Identity, at_ns: u64, tell: &mut impl FnMut(Change<'_>)) {
        let Some(mut group) = self.groups.remove(&identity) else { return };
        if group.tally.open > 0 {
            self.members.retain(|_, member| member.identity != identity);
        }
        let of_service = (identity.rule, identity.service);
        if identity.pool.is_some()
            && let Some(pools) = self.pools.get_mut(&of_service)
        {
            *pools -= 1;
            if *pools == 0 {
                self.pools.remove(&of_service);
            }
        }
        let has_news = group.has_news;
        group.told(at_ns);
        tell(Change { at_ns, state: State::Resolved, has_news, group: &group });
    }
}

impl Group {
    fn new(identity: Identity, finding: &Finding) -> Self {
        Self {
            id: identity.hash(ID, finding.at_ns / 1000),
            key: identity.hash(KEY, 0),
            rule: finding.rule,
            service: identity.service,
            pool: identity.pool,
            first_ns: finding.at_ns,
            last_ns: finding.at_ns,
            revision: 0,
            tally: Tally::new(finding),
            told_ns: 0,
            told_severity: u8::MAX,
            has_news: false,
            worse_ns: None,
            due_ns: 0,
        }
    }

    fn told(&mut self, at_ns: u64) {
        self.revision += 1;
        self.told_ns = at_ns;
        self.told_severity = self.tally.severity;
        self.has_news = false;
        self.worse_ns = None;
    }

    /// When it is over, unless something comes.
    fn end_ns(&self, config: &Config) -> u64 {
        let wait_ns = if self.tally.open == 0 { config.quiet_ns } else { config.stale_ns };
        self.last_ns.saturating_add(wait_ns)
    }

    /// When it is to be told of again, unless something comes.
    fn update_ns(&self, config: &Config) -> u64 {
        let regular = match self.has_news {
            true => self.told_ns.saturating_add(config.interval_ns),
            false => u64::MAX,
        };
        // Severity only gets worse, and has three values: this is no way round the interval.
        let worse = self.worse_ns.map_or(u64::MAX, |at_ns| at_ns.saturating_add(config.worse_ns));
        regular.min(worse)
    }
}
