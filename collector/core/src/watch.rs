//! One worker's detector: its flow table, its contests, its rules, its counters.
//!
//! It owns a share of all tuples (see [`owner`]) and never looks at another worker's. Same records
//! in, same outputs out, whatever the size of the batches.

use alloc::boxed::Box;
use alloc::vec::Vec;

use ahash::RandomState;
use arrayvec::ArrayVec;
use xdpwatch_prog::record::{Record, flags};

use crate::contest::{Contest, Event};
use crate::counters::Counters;
use crate::detect::tuple_reuse;
use crate::finding::{Endpoint, Finding};
use crate::flow::{Flow, SECOND_US, State, marks};
use crate::flows::{Flows, Found, Occupancy, Place};
use crate::holding::holder;
use crate::host::{Hosts, Model};
use crate::relation::{Relation, Seen, answers_for_unknown, begins_unseen, relation};
use crate::step::{Step, What};
use crate::timed::Timed;
use crate::tuple::Tuple;

pub use crate::tuple::owner;

/// Records whose table lines are fetched together: enough to hide a memory access behind others.
const BATCH: usize = 64;

/// Records between two steps of the sweep, whatever the size of the batches.
const SWEEP_RECORDS: u64 = 64;

/// Time in which a step of the sweep becomes due, in record time.
const TICK_US: u64 = SECOND_US / 10;

/// Sizes and choices, fixed at start.
#[derive(Clone, Debug)]
pub struct Config {
    /// IPv4 tuples held at most, by this worker; a quarter as many IPv6 ones besides.
    pub max_tuples: usize,
    /// How long closed tuples are remembered while there is room.
    pub horizon_ns: u64,
    /// Whether the VLAN ids are part of the tuple.
    pub vlan_key: bool,
    /// Whether accepted reuse becomes a finding too.
    pub all_reuse: bool,
    /// Whose TCP hosts have, as far as configured.
    pub hosts: Hosts,
    /// Seeds of the table's hash; random live, since strangers choose the tuples.
    pub seeds: [u64; 4],
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_tuples: 1 << 12,
            horizon_ns: 300 * SECOND_US * 1000,
            vlan_key: false,
            all_reuse: false,
            hosts: Hosts::default(),
            seeds: [0; 4],
        }
    }
}

/// What a worker hands on, in order of time.
#[derive(Clone, Debug)]
pub struct Output {
    /// When it happened, nanoseconds; a worker's outputs never go back in time.
    pub at_ns: u64,
    /// The tuple it is about: with the time, the order in which workers' outputs are merged.
    pub tuple: Tuple,
    /// What happened.
    pub kind: Kind,
}

/// The kinds of output.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A step of one connection, for the rules that span connections.
    Step(Step),
    /// A holder held a tuple for longer than its model says.
    HeldLonger {
        /// Who.
        host: Endpoint,
        /// How much longer at least, microseconds.
        longer_us: u64,
    },
    /// A holder's answer proves that its kernel is Linux: it recycled TIME-WAIT as only Linux does.
    ProvenLinux(Endpoint),
    /// A holder answered otherwise than its model's verdict foretold.
    Contradicted(Endpoint, Model),
    /// A rule's finding.
    Finding(Box<Finding>),
}

/// One worker's detector.
#[derive(Debug)]
pub struct Watch {
    config: Config,
    flows: Flows,
    contests: Timed<Tuple, Contest>,
    counters: Counters,
    now_us: u64,
    next_tick_us: u64,
}

impl Watch {
    /// Reserves everything it will ever need.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let [a, b, c, d] = config.seeds;
        let state = RandomState::with_seeds(a, b, c, d);
        let contests = (config.max_tuples / 16).clamp(1024, 1 << 16);
        let horizon_us = config.horizon_ns / 1000;
        Self {
            flows: Flows::new(config.max_tuples, horizon_us, state.clone()),
            contests: Timed::new(contests, state),
            counters: Counters::default(),
            now_us: 0,
            next_tick_us: 0,
            config,
        }
    }

    /// Takes records in order of time and appends what follows from them.
    pub fn observe(&mut self, records: &[Record], out: &mut Vec<Output>) {
        for batch in records.chunks(BATCH) {
            let mut now_us = self.now_us;
            // Filled in place: collecting would copy it once more.
            let mut coming = ArrayVec::<Seen<'_>, BATCH>::new();
            for record in batch {
                now_us = now_us.max(record.at_ns / 1000);
                let (tuple, sender) = Tuple::of(record, self.config.vlan_key);
                let lookup = self.flows.lookup(&tuple);
                coming.push(Seen { record, tuple, sender, lookup, now_us });
            }
            coming.iter().for_each(|seen| self.flows.touch_tags(&seen.lookup));
            coming.iter_mut().for_each(|seen| self.flows.guess(&mut seen.lookup));
            coming.iter().for_each(|seen| self.flows.touch_slot(&seen.lookup));
            coming.iter().for_each(|seen| self.observe_one(seen, out));
        }
    }

    /// Lets time pass: what is due by `now_ns` is appended, with its own deadline as its time.
    pub fn tick(&mut self, now_ns: u64, out: &mut Vec<Output>) {
        self.pass_time(now_ns / 1000, out);
        self.sweep(out);
    }

    /// End of input at `end_ns`: what is pending is settled.
    pub fn finish(&mut self, end_ns: u64, out: &mut Vec<Output>) {
        self.tick(end_ns, out);
        for (_, contest) in self.contests.drain() {
            self.settle(contest, self.now_us, out);
        }
    }

    /// Everything counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Tuples held now, by state.
    #[must_use]
    pub fn occupancy(&self) -> Occupancy {
        self.flows.occupancy()
    }

    /// The tables' memory, for whoever wants to back it with huge pages before it is used.
    #[must_use]
    pub fn memory(&self) -> [(&[u8], &[u64]); 2] {
        self.flows.memory()
    }

    /// How long closed tuples are in fact remembered, nanoseconds.
    #[must_use]
    pub fn remembered_ns(&self) -> u64 {
        self.flows.remembered_us() * 1000
    }

    fn observe_one(&mut self, seen: &Seen<'_>, out: &mut Vec<Output>) {
        self.counters.records += 1;
        self.pass_time(seen.now_us, out);
        if self.counters.records.is_multiple_of(SWEEP_RECORDS) {
            self.sweep(out);
        }
        match self.flows.find(&seen.lookup, seen.now_us) {
            Found::Nothing => self.first_seen(seen, None, out),
            Found::Over(flow) => {
                push_gone(out, &seen.tuple, &flow, seen.now_us);
                self.first_seen(seen, Some(&flow), out);
            }
            Found::Held(place, flow) if flow.is(marks::CONTESTED) => {
                self.contested(seen, place, flow, out);
            }
            Found::Held(place, flow) => self.known(seen, place, flow, out),
        }
    }

    #[inline]
    fn pass_time(&mut self, now_us: u64, out: &mut Vec<Output>) {
        self.now_us = self.now_us.max(now_us);
        if self.contests.next_due_us() <= self.now_us {
            while let Some((_, contest)) = self.contests.pop_due(self.now_us) {
                let due_us = contest.due_us;
                self.settle(contest, due_us, out);
            }
        }
        if self.now_us >= self.next_tick_us {
            self.next_tick_us = self.now_us + TICK_US;
            self.flows.tick();
        }
    }

    fn sweep(&mut self, out: &mut Vec<Output>) {
        let now_us = self.now_us;
        let gone = &mut |tuple: &Tuple, flow: &Flow| push_gone(out, tuple, flow, now_us);
        self.flows.sweep(now_us, &mut self.counters, gone);
    }

    /// A tuple of which nothing is known, or whose last connection is past its time.
    fn first_seen(&mut self, seen: &Seen, previous: Option<&Flow>, out: &mut Vec<Output>) {
        if seen.record.has_flags(flags::RST) {
            self.counters.stray_resets += 1;
            return;
        }
        let flow = Flow::open(seen.record, seen.sender, seen.now_us);
        self.count_opened(&flow);
        let refused = self.counters.table_refused;
        let given_up = self.flows.insert(&seen.lookup, &flow, seen.now_us, &mut self.counters);
        if let Some((tuple, old)) = given_up {
            push_gone(out, &tuple, &old, seen.now_us);
        }
        // What has no place is not followed: its next segment would open it once more.
        if self.counters.table_refused == refused {
            push_opened(out, seen, &flow, previous);
        }
    }

    fn count_opened(&mut self, flow: &Flow) {
        match flow.state {
            State::SynSent => self.counters.connections += 1,
            _ => self.counters.mid_stream += 1,
        }
    }

    /// A tuple that nobody contests.
    fn known(&mut self, seen: &Seen, place: Place, mut flow: Flow, out: &mut Vec<Output>) {
        let (before, last_us) = (flow.state, flow.last_us);
        if seen.record.is_pure_syn() {
            return self.syn(seen, place, flow, out);
        }
        if begins_unseen(&flow, seen) {
            return self.replace(seen, place, &flow, out);
        }
        if answers_for_unknown(&flow, seen) {
            return self.open_unknown(seen, place, flow, out);
        }
        flow.advance(seen.record, seen.sender, seen.now_us);
        self.flows.store(place, before, &flow);
        push_advanced(out, seen, before, last_us, &flow);
    }

    /// A SYN on a tuple that has a flow.
    fn syn(&mut self, seen: &Seen, place: Place, mut flow: Flow, out: &mut Vec<Output>) {
        let (before, last_us) = (flow.state, flow.last_us);
        let what = match relation(&flow, seen) {
            Relation::Repeated => {
                self.counters.syn_repeated += 1;
                flow.advance(seen.record, seen.sender, seen.now_us);
                What::SynRepeated
            }
            Relation::Late => {
                self.counters.late_syns += 1;
                flow.adopt_syn(seen.record, seen.sender);
                What::SynLate
            }
            Relation::New => return self.new_syn(seen, place, flow, out),
        };
        self.flows.store(place, before, &flow);
        push_step(out, seen, Step::of(seen, what, Some(before), last_us, &flow));
    }

    /// A SYN for a new connection on a tuple that has a flow: against its holder, if one holds it.
    fn new_syn(&mut self, seen: &Seen, place: Place, flow: Flow, out: &mut Vec<Output>) {
        if let Some(holder) = holder(&flow, seen.sender) {
            let model = self.config.hosts.configured(&seen.record.dst_addr);
            let contest = Contest::open(seen.tuple, &flow, holder, model, seen.record, seen.now_us);
            return self.contest(seen, place, flow, contest, out);
        }
        let held_by_sender = flow.state == State::TimeWait && flow.closer() == seen.sender;
        self.counters.self_reuse += u64::from(held_by_sender);
        self.replace(seen, place, &flow, out);
    }

    /// The flow gives way to a new incarnation that begins with this record.
    fn replace(&mut self, seen: &Seen, place: Place, old: &Flow, out: &mut Vec<Output>) {
        let flow = Flow::open(seen.record, seen.sender, seen.now_us);
        self.count_opened(&flow);
        self.flows.store(place, old.state, &flow);
        push_gone(out, &seen.tuple, old, seen.now_us);
        push_opened(out, seen, &flow, Some(old));
    }

    fn contest(
        &mut self,
        seen: &Seen,
        place: Place,
        mut flow: Flow,
        mut contest: Contest,
        out: &mut Vec<Output>,
    ) {
        let (before, last_us) = (flow.state, flow.last_us);
        contest.rearm(seen.record, &mut flow, seen.now_us);
        if !self.contests.insert(seen.tuple, contest) {
            self.counters.contests_full += 1;
            return self.replace(seen, place, &flow, out);
        }
        self.counters.contests += 1;
        flow.mark(marks::CONTESTED, true);
        self.flows.store(place, before, &flow);
        let step = Step::of(seen, What::SynOnHeld, Some(before), last_us, &flow);
        push_step(out, seen, step.after(Some(&flow)));
    }

    /// A bare ACK with an unrelated number to a fresh SYN: the holder's connection predates the feed.
    fn open_unknown(&mut self, seen: &Seen, place: Place, mut flow: Flow, out: &mut Vec<Output>) {
        if self.contests.is_full() {
            // An alert that could not be followed to its end would stand for ever.
            self.counters.contests_full += 1;
            return;
        }
        let before = flow.state;
        let initiator = seen.sender.peer();
        let model = self.config.hosts.configured(&seen.record.src_addr);
        let mut contest = Contest::open_unknown(seen.tuple, &flow, initiator, model, seen.record);
        let event = contest.hear_holder(seen.record, seen.now_us);
        flow.ends[initiator.index()].next = contest.held.expected;
        if let Some(event) = event {
            self.speaker(out).report(&mut contest, event, seen.now_us);
        }
        let followed = self.contests.insert(seen.tuple, contest);
        self.counters.contests += u64::from(followed);
        flow.mark(marks::CONTESTED, followed);
        self.flows.store(place, before, &flow);
    }

    /// A segment on a contested tuple: of the attempt, of the holder's answer, or of the old flow.
    fn contested(&mut self, seen: &Seen, place: Place, mut flow: Flow, out: &mut Vec<Output>) {
        let (before, last_us) = (flow.state, flow.last_us);
        let Some(contest) = self.contests.get_mut(&seen.tuple) else {
            flow.mark(marks::CONTESTED, false);
            return self.known(seen, place, flow, out);
        };
        if seen.record.is_pure_syn() && contest.is_same_syn(seen.record) {
            // Before what the rule says of it: this SYN may be what joins the legs.
            let step = Step::of(seen, What::SynOnHeld, Some(before), last_us, &flow);
            push_step(out, seen, step);
        }
        let heard = hear(contest, &mut flow, seen);
        if let Some(event) = heard.event {
            let all_reuse = self.config.all_reuse;
            Speaker { counters: &mut self.counters, all_reuse, out }.report(
                contest,
                event,
                seen.now_us,
            );
        }
        if heard.then == Then::GoOn {
            self.flows.store(place, before, &flow);
            return push_advanced(out, seen, before, last_us, &flow);
        }
        let (syn, initiator, first_us) = (contest.syn, contest.initiator, contest.first_us);
        self.contests.remove(&seen.tuple);
        if heard.then == Then::BeginAnew {
            flow.mark(marks::CONTESTED, false);
            return self.syn(seen, place, flow, out);
        }
        let mut new = Flow::open(&syn, initiator, first_us);
        new.advance(seen.record, seen.sender, seen.now_us);
        self.counters.connections += 1;
        self.flows.store(place, before, &new);
        push_gone(out, &seen.tuple, &flow, seen.now_us);
        push_opened(out, seen, &new, Some(&flow));
    }

    /// Nobody waits for this contest any more.
    fn settle(&mut self, mut contest: Contest, at_us: u64, out: &mut Vec<Output>) {
        let lookup = self.flows.lookup(&contest.tuple);
        if let Found::Held(place, mut flow) = self.flows.find(&lookup, self.now_us) {
            let before = flow.state;
            flow.mark(marks::CONTESTED, false);
            self.flows.store(place, before, &flow);
        }
        self.speaker(out).report(&mut contest, Event::Failed, at_us);
    }

    fn speaker<'a>(&'a mut self, out: &'a mut Vec<Output>) -> Speaker<'a> {
        let all_reuse = self.config.all_reuse;
        Speaker { counters: &mut self.counters, all_reuse, out }
    }
}

#[inline]
fn push_step(out: &mut Vec<Output>, seen: &Seen, step: Step) {
    out.push(Output { at_ns: seen.now_us * 1000, tuple: seen.tuple, kind: Kind::Step(step) });
}

/// A connection that is first seen, after another on its tuple or not.
#[inline]
fn push_opened(out: &mut Vec<Output>, seen: &Seen, flow: &Flow, previous: Option<&Flow>) {
    let previous_us = previous.map(|old| seen.now_us.saturating_sub(old.changed_us));
    let last_us = previous.map_or(seen.now_us, |old| old.last_us);
    let mut step = Step::of(seen, What::Opened { previous_us }, None, last_us, flow);
    step.freed = previous.map_or([None; 2], Flow::time_waits);
    push_step(out, seen, step.after(previous));
}

/// A segment of a known connection, if it made a step: a state left, or a FIN repeated.
#[inline]
fn push_advanced(out: &mut Vec<Output>, seen: &Seen, before: State, last_us: u64, flow: &Flow) {
    let what = if flow.state != before {
        What::Moved
    } else if seen.record.has_flags(flags::FIN) && before >= State::FinWait1 {
        What::FinRepeated
    } else {
        return;
    };
    push_step(out, seen, Step::of(seen, what, Some(before), last_us, flow));
}

/// A connection that is no longer remembered.
fn push_gone(out: &mut Vec<Output>, tuple: &Tuple, flow: &Flow, now_us: u64) {
    if let Some(step) = Step::gone(tuple, flow, now_us) {
        out.push(Output { at_ns: now_us * 1000, tuple: *tuple, kind: Kind::Step(step) });
    }
}

/// Counts what happens to contests and lets the rules speak.
struct Speaker<'a> {
    counters: &'a mut Counters,
    all_reuse: bool,
    out: &'a mut Vec<Output>,
}

impl Speaker<'_> {
    fn report(&mut self, contest: &mut Contest, event: Event, at_us: u64) {
        let tuple = contest.tuple;
        let mut push = |kind| self.out.push(Output { at_ns: at_us * 1000, tuple, kind });
        let answered = matches!(event, Event::Refused | Event::Connected);
        let host = tuple.end(contest.initiator.peer());
        if answered && tuple_reuse::held_past_deadline(contest) {
            let longer_us = at_us.saturating_sub(contest.deadline_us);
            push(Kind::HeldLonger { host, longer_us });
        }
        if contest.recycled() {
            push(Kind::ProvenLinux(host));
        }
        let settled = matches!(event, Event::Connected | Event::Failed);
        if settled && tuple_reuse::contradicted(contest) {
            push(Kind::Contradicted(host, contest.model));
        }
        if let Some(finding) = tuple_reuse::observe(contest, event, at_us, self.all_reuse) {
            push(Kind::Finding(Box::new(finding)));
        }
        self.count(contest, event);
    }

    fn count(&mut self, contest: &Contest, event: Event) {
        let counters = &mut self.counters;
        match event {
            Event::Refused | Event::SynRepeated { .. } => return,
            Event::Connected if contest.fired => counters.reuse_recovered += 1,
            Event::Connected if contest.expired => counters.reuse_expired += 1,
            Event::Connected => counters.reuse_accepted += 1,
            Event::Failed if contest.fired => counters.reuse_failed += 1,
            Event::Failed => counters.reuse_abandoned += 1,
        }
        counters.model_contradicted += u64::from(tuple_reuse::contradicted(contest));
    }
}

/// What a segment meant to a contest.
struct Heard {
    event: Option<Event>,
    then: Then,
}

/// What follows for the flow.
#[derive(PartialEq, Eq)]
enum Then {
    /// The contest goes on.
    GoOn,
    /// The new connection takes the old one's place.
    Connect,
    /// The initiator gave this SYN up for another.
    BeginAnew,
}

fn hear(contest: &mut Contest, flow: &mut Flow, seen: &Seen) -> Heard {
    let Seen { record, sender, now_us, .. } = *seen;
    let go_on = |event| Heard { event, then: Then::GoOn };
    let connect = |event| Heard { event: Some(event), then: Then::Connect };
    if sender == contest.initiator {
        if record.is_pure_syn() {
            if contest.is_same_syn(record) {
                return go_on(contest.syn_again(record, flow, now_us));
            }
            let late = flow.client() == Some(sender) && flow.isn == record.seq;
            let then = if late { Then::GoOn } else { Then::BeginAnew };
            return Heard { event: (!late).then_some(Event::Failed), then };
        }
        let (event, is_new) = contest.hear_initiator(record, now_us);
        if let (Some(event), true) = (event, is_new) {
            return connect(event);
        }
        flow.advance(record, sender, now_us);
        return go_on(event);
    }
    if contest.is_accepted_by(record) {
        return connect(contest.accepted(record, now_us));
    }
    // The ACK of the old FIN, overtaken by the SYN, looks like a challenge ACK. The first is taken for
    // that ACK: a holder that refuses will say so again.
    let owes_ack = flow.state == State::LastAck && sender == flow.closer();
    let event = if owes_ack && !record.has_flags(flags::RST) {
        None
    } else {
        contest.hear_holder(record, now_us)
    };
    match event {
        Some(Event::Connected) => return connect(Event::Connected),
        Some(_) if record.has_flags(flags::RST) => flow.enter(State::Reset, now_us),
        // The initiator's RST will carry exactly this number.
        Some(_) => flow.ends[contest.initiator.index()].next = contest.held.expected,
        None => flow.advance(record, sender, now_us),
    }
    go_on(event)
}
