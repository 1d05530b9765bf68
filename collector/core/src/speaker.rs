//! Counts what happens to contests and lets the rule speak.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::contest::{Contest, Event};
use crate::counters::Counters;
use crate::detect::tuple_reuse;
use crate::output::{Kind, Output};

/// Speaks of one worker's contests.
pub struct Speaker<'a> {
    /// What is counted.
    pub counters: &'a mut Counters,
    /// Whether accepted reuse becomes a finding too.
    pub all_reuse: bool,
    /// Where what is said goes.
    pub out: &'a mut Vec<Output>,
}

impl Speaker<'_> {
    /// `event` happened to `contest` at `at_us`.
    pub fn report(&mut self, contest: &mut Contest, event: Event, at_us: u64) {
        let tuple = contest.tuple;
        let key = tuple.key();
        let mut push = |kind| self.out.push(Output { at_ns: at_us * 1000, key, kind });
        let answered = matches!(event, Event::Refused | Event::Connected);
        let host = tuple.end(contest.initiator.peer());
        if answered && tuple_reuse::held_past_deadline(contest) {
            let longer_us = at_us.saturating_sub(contest.deadline_us);
            push(Kind::HeldLonger { host, longer_us });
        }
        if contest.recycled() {
            push(Kind::ProvenLinux(host));
        }
        if let Some(ahead) = contest.recycled_to().filter(|_| event == Event::Connected) {
            push(Kind::Recycled(host, ahead));
        }
        let settled = matches!(event, Event::Connected | Event::Failed);
        if settled && tuple_reuse::contradicted(contest) {
            push(Kind::Contradicted(host, contest.model));
        }
        let refusal = tuple_reuse::refusal_seen(contest);
        if let Some(refusal) = refusal.filter(|_| settled && !contest.model_configured) {
            push(Kind::Refusal(host, refusal));
        }
        if let Some(report) = tuple_reuse::observe(contest, event, at_us, self.all_reuse) {
            push(Kind::Report(Box::new(report)));
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
