//! What a worker does with a segment on a tuple that nobody contests.

use alloc::vec::Vec;

use xdpwatch_prog::record::flags;

use crate::contest::Contest;
use crate::entry::Entry;
use crate::flow::{Flow, State};
use crate::flows::Place;
use crate::holding::holder;
use crate::holes::hole;
use crate::host::linux::RECYCLED_ISN_AHEAD;
use crate::output::{Kind, Output};
use crate::packed_step::PackedStep;
use crate::relation::{Relation, Seen, answers_for_unknown, begins_unseen, relation};
use crate::step::What;
use crate::tuple::Key;
use crate::watch::Watch;

impl Watch {
    /// A tuple of which nothing is known, or whose last connection is past its time.
    #[inline(never)]
    pub(crate) fn first_seen(
        &mut self,
        seen: &Seen<'_>,
        previous: Option<&Entry>,
        out: &mut Vec<Output>,
    ) {
        if seen.record.has_flags(flags::RST) {
            self.counters.stray_resets += 1;
            return;
        }
        let entry = Entry::open(seen.record, seen.sender, seen.now_us);
        self.count_opened(&entry);
        let gone = &mut |key: &Key, old: &Entry| push_gone(out, key, old, seen.now_us);
        // What has no place is not followed: its next segment would open it once more.
        if self.flows.insert(seen, &entry, &mut self.counters, gone) {
            push_step(out, seen, PackedStep::opened(seen, &entry, previous));
        }
    }

    fn count_opened(&mut self, entry: &Entry) {
        match entry.state() {
            State::SynSent => self.counters.connections += 1,
            _ => self.counters.mid_stream += 1,
        }
    }

    /// A tuple that nobody contests: what nearly every segment is of.
    #[inline(always)]
    pub(crate) fn known(
        &mut self,
        seen: &Seen<'_>,
        place: Place,
        mut entry: Entry,
        out: &mut Vec<Output>,
    ) {
        let before = entry.state();
        if seen.record.is_pure_syn() {
            return self.syn(&{ *seen }, place, entry, out);
        }
        if begins_unseen(&entry, seen) {
            return self.replace(&{ *seen }, place, &{ entry }, out);
        }
        if answers_for_unknown(&entry, seen) {
            return self.open_unknown(&{ *seen }, place, entry, out);
        }
        let silent_us = entry.silent_us(seen.now_us);
        let hole = if self.config.carries_data { hole(&entry, seen) } else { None };
        entry.advance(seen.record, seen.sender, seen.now_us);
        self.flows.store(place, before, &entry);
        push_advanced(out, seen, before, silent_us, &entry);
        if let Some(what) = hole {
            push_step(out, seen, PackedStep::of(seen, what, Some(before), silent_us, &entry));
        }
    }

    /// A SYN on a tuple that has a flow.
    #[inline(never)]
    pub(crate) fn syn(
        &mut self,
        seen: &Seen<'_>,
        place: Place,
        mut entry: Entry,
        out: &mut Vec<Output>,
    ) {
        let (before, silent_us) = (entry.state(), entry.silent_us(seen.now_us));
        let what = match relation(&entry, seen) {
            Relation::Repeated => {
                self.counters.syn_repeated += 1;
                entry.advance(seen.record, seen.sender, seen.now_us);
                What::SynRepeated
            }
            Relation::Late => {
                self.counters.late_syns += 1;
                entry.adopt_syn(seen.record, seen.sender, seen.now_us);
                What::SynLate
            }
            Relation::New => return self.new_syn(seen, place, &entry, out),
        };
        self.flows.store(place, before, &entry);
        push_step(out, seen, PackedStep::of(seen, what, Some(before), silent_us, &entry));
    }

    /// A SYN for a new connection on a tuple that has a flow: against its holder, if one holds it.
    fn new_syn(&mut self, seen: &Seen<'_>, place: Place, entry: &Entry, out: &mut Vec<Output>) {
        let flow = Flow::unpack(entry, seen.now_us);
        if let Some(holder) = holder(&flow, seen.sender, seen.now_us) {
            let model = self.config.hosts.configured(&seen.record.dst_addr);
            let contest =
                Contest::open(seen.tuple(), &flow, holder, model, seen.record, seen.now_us);
            return self.contest(seen, place, flow, contest, out);
        }
        let held_by_sender = flow.state == State::TimeWait && flow.marks.closer() == seen.sender;
        self.counters.self_reuse += u64::from(held_by_sender);
        let old_next = flow.end(seen.sender).next;
        if held_by_sender && seen.record.seq == old_next.wrapping_add(RECYCLED_ISN_AHEAD) {
            let kind = Kind::ProvenLinux(seen.tuple().end(seen.sender));
            out.push(Output { at_ns: seen.now_us * 1000, key: seen.key, kind });
        }
        self.replace(seen, place, entry, out);
    }

    /// The flow gives way to a new incarnation that begins with this record.
    #[inline(never)]
    pub(crate) fn replace(
        &mut self,
        seen: &Seen<'_>,
        place: Place,
        old: &Entry,
        out: &mut Vec<Output>,
    ) {
        let entry = Entry::open(seen.record, seen.sender, seen.now_us);
        self.count_opened(&entry);
        self.flows.store(place, old.state(), &entry);
        push_gone(out, &seen.key, old, seen.now_us);
        push_step(out, seen, PackedStep::opened(seen, &entry, Some(old)));
    }
}

/// Hands on a step of the segment's tuple.
#[inline(always)]
pub fn push_step(out: &mut Vec<Output>, seen: &Seen<'_>, step: PackedStep) {
    out.push(Output { at_ns: seen.now_us * 1000, key: seen.key, kind: Kind::Step(step) });
}

/// A segment of a known connection, if it made a step: a state left, or a FIN repeated.
#[inline(always)]
pub fn push_advanced(
    out: &mut Vec<Output>,
    seen: &Seen<'_>,
    before: State,
    silent_us: u64,
    entry: &Entry,
) {
    let what = if entry.state() != before {
        What::Moved
    } else if seen.record.has_flags(flags::FIN) && before >= State::FinWait1 {
        What::FinRepeated
    } else {
        return;
    };
    push_step(out, seen, PackedStep::of(seen, what, Some(before), silent_us, entry));
}

/// A connection that is no longer remembered.
pub fn push_gone(out: &mut Vec<Output>, key: &Key, entry: &Entry, now_us: u64) {
    if let Some(step) = PackedStep::gone(key, entry, now_us) {
        out.push(Output { at_ns: now_us * 1000, key: *key, kind: Kind::Step(step) });
    }
}
