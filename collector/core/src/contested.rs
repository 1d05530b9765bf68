//! Contested tuples: a new SYN against a holder, from its first segment to its outcome.

use alloc::vec::Vec;

use xdpwatch_prog::record::flags;

use crate::contest::{Contest, Event};
use crate::entry::Entry;
use crate::flow::{Flow, State, marks};
use crate::flows::Place;
use crate::follow::{push_advanced, push_gone, push_step};
use crate::output::Output;
use crate::packed_step::PackedStep;
use crate::relation::Seen;
use crate::speaker::Speaker;
use crate::step::What;
use crate::watch::Watch;

impl Watch {
    /// A SYN against a holder opens a contest.
    #[inline(never)]
    pub(crate) fn contest(
        &mut self,
        seen: &Seen<'_>,
        place: Place,
        mut flow: Flow,
        mut contest: Contest,
        out: &mut Vec<Output>,
    ) {
        let (before, silent_us) = (flow.state, seen.now_us.saturating_sub(flow.last_us));
        contest.rearm(seen.record, &mut flow, seen.now_us);
        self.next_us = self.next_us.min(contest.due_us);
        if !self.contests.insert(seen.tuple(), contest) {
            self.counters.contests_full += 1;
            return self.replace(seen, place, &flow.pack(), out);
        }
        self.counters.contests += 1;
        flow.mark(marks::CONTESTED, true);
        let entry = flow.pack();
        self.flows.store(place, before, &entry);
        let step = PackedStep::of(seen, What::SynOnHeld, Some(before), silent_us, &entry);
        push_step(out, seen, step.after(&entry));
    }

    /// A bare ACK with an unrelated number to a fresh SYN: the holder's connection predates the feed.
    #[inline(never)]
    pub(crate) fn open_unknown(
        &mut self,
        seen: &Seen<'_>,
        place: Place,
        mut entry: Entry,
        out: &mut Vec<Output>,
    ) {
        if self.contests.is_full() {
            // An alert that could not be followed to its end would stand for ever.
            self.counters.contests_full += 1;
            return;
        }
        let (before, tuple) = (entry.state(), seen.tuple());
        let initiator = seen.sender.peer();
        let model = self.config.hosts.configured(&seen.record.src_addr);
        let flow = Flow::unpack(&entry, seen.now_us);
        let mut contest = Contest::open_unknown(tuple, &flow, initiator, model, seen.record);
        let event = contest.hear_holder(seen.record, seen.now_us);
        entry.set_next(initiator, contest.held.expected);
        if let Some(event) = event {
            self.speaker(out).report(&mut contest, event, seen.now_us);
        }
        self.next_us = self.next_us.min(contest.due_us);
        let followed = self.contests.insert(tuple, contest);
        self.counters.contests += u64::from(followed);
        entry.mark(marks::CONTESTED, followed);
        self.flows.store(place, before, &entry);
    }

    /// A segment on a contested tuple: of the attempt, of the holder's answer, or of the old flow.
    #[inline(never)]
    pub(crate) fn contested(
        &mut self,
        seen: &Seen<'_>,
        place: Place,
        mut entry: Entry,
        out: &mut Vec<Output>,
    ) {
        let (before, silent_us) = (entry.state(), entry.silent_us(seen.now_us));
        let tuple = seen.tuple();
        let Some(contest) = self.contests.get_mut(&tuple) else {
            entry.mark(marks::CONTESTED, false);
            return self.known(seen, place, entry, out);
        };
        if seen.record.is_pure_syn() && contest.is_same_syn(seen.record) {
            // Before what the rule says of it: this SYN may be what joins the legs.
            let step = PackedStep::of(seen, What::SynOnHeld, Some(before), silent_us, &entry);
            push_step(out, seen, step);
        }
        let mut flow = Flow::unpack(&entry, seen.now_us);
        let heard = hear(contest, &mut flow, seen);
        entry = flow.pack();
        if let Some(event) = heard.event {
            let all_reuse = self.config.all_reuse;
            let mut speaker = Speaker { counters: &mut self.counters, all_reuse, out };
            speaker.report(contest, event, seen.now_us);
        }
        if heard.then == Then::GoOn {
            self.flows.store(place, before, &entry);
            return push_advanced(out, seen, before, silent_us, &entry);
        }
        let (syn, initiator, first_us) = (contest.syn, contest.initiator, contest.first_us);
        self.contests.remove(&tuple);
        if heard.then == Then::BeginAnew {
            entry.mark(marks::CONTESTED, false);
            return self.syn(seen, place, entry, out);
        }
        let mut new = Entry::open(&syn, initiator, first_us);
        new.advance(seen.record, seen.sender, seen.now_us);
        self.counters.connections += 1;
        self.flows.store(place, before, &new);
        push_gone(out, &seen.key, &entry, seen.now_us);
        push_step(out, seen, PackedStep::opened(seen, &new, Some(&entry)));
    }

    /// Nobody waits for this contest any more.
    #[inline(never)]
    pub(crate) fn settle(&mut self, mut contest: Contest, at_us: u64, out: &mut Vec<Output>) {
        let key = contest.tuple.key();
        if let Some((place, mut entry)) = self.flows.find(&key, &self.flows.lookup(&key)) {
            entry.mark(marks::CONTESTED, false);
            self.flows.store(place, entry.state(), &entry);
        }
        self.speaker(out).report(&mut contest, Event::Failed, at_us);
    }

    fn speaker<'a>(&'a mut self, out: &'a mut Vec<Output>) -> Speaker<'a> {
        let all_reuse = self.config.all_reuse;
        Speaker { counters: &mut self.counters, all_reuse, out }
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

fn hear(contest: &mut Contest, flow: &mut Flow, seen: &Seen<'_>) -> Heard {
    let Seen { record, sender, now_us, .. } = *seen;
    let go_on = |event| Heard { event, then: Then::GoOn };
    let connect = |event| Heard { event: Some(event), then: Then::Connect };
    if sender == contest.initiator {
        if record.is_pure_syn() {
            if contest.is_same_syn(record) {
                return go_on(contest.syn_again(record, flow, now_us));
            }
            let late = flow.marks.client() == Some(sender) && flow.isn == record.seq;
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
    let owes_ack = flow.state == State::LastAck && sender == flow.marks.closer();
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
