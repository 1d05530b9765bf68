//! A step as it travels from a worker to the rules: what [`Step`] says in half its size, since every
//! segment that opens or closes a connection makes one.

use arrayvec::ArrayVec;
use xdpwatch_prog::record::Record;

use crate::entry::Entry;
use crate::flow::{Flow, State};
use crate::relation::Seen;
use crate::step::{Step, What, client_of};
use crate::tuple::{Key, Side, Tuple};

/// What a segment, or time alone, did to a connection.
#[derive(Clone, Copy, Debug)]
pub struct PackedStep {
    /// The connection as it is after the step.
    entry: Entry,
    what: What,
    silent_us: u64,
    last_clock: Option<u32>,
    seq: u32,
    ts_val: u32,
    vni: u32,
    vlans: [u16; 2],
    vlan_count: u8,
    has_ts_val: bool,
    sender: Side,
    flags: u8,
    before: Option<State>,
    freed: [Option<Side>; 2],
}

impl PackedStep {
    /// The step that a segment made, after silence of `silent_us` on the connection.
    #[inline(always)]
    #[must_use]
    pub fn of(
        seen: &Seen<'_>,
        what: What,
        before: Option<State>,
        silent_us: u64,
        entry: &Entry,
    ) -> Self {
        let record: &Record = seen.record;
        let has_ts_val = record.timestamp().is_some();
        Self {
            entry: *entry,
            what,
            silent_us,
            last_clock: None,
            seq: record.seq,
            ts_val: record.ts_val,
            vni: record.vni,
            vlans: record.vlans,
            vlan_count: record.vlan_count,
            has_ts_val,
            sender: seen.sender,
            flags: record.flags,
            before,
            freed: [None; 2],
        }
    }

    /// The step of a segment that is first seen of a connection; `previous` was on its tuple before.
    #[inline]
    #[must_use]
    pub fn opened(seen: &Seen<'_>, entry: &Entry, previous: Option<&Entry>) -> Self {
        let Some(old) = previous else {
            let what = What::Opened { previous_us: None };
            return Self::of(seen, what, None, 0, entry);
        };
        let since_us = seen.now_us.saturating_sub(old.changed_us(seen.now_us));
        let what = What::Opened { previous_us: Some(since_us) };
        let step = Self::of(seen, what, None, old.silent_us(seen.now_us), entry);
        Self { freed: old.marks().time_waits(old.state()), ..step.after(old) }
    }

    /// The step of a SYN that follows `previous`.
    #[must_use]
    pub fn after(self, previous: &Entry) -> Self {
        let last_clock = previous.timestamp(self.sender).filter(|_| self.is_pure_syn());
        Self { last_clock, ..self }
    }

    /// The connection is forgotten at `now_us`. `None` for those that go without a word.
    #[must_use]
    pub fn gone(key: &Key, entry: &Entry, now_us: u64) -> Option<Self> {
        let state = entry.state();
        (!matches!(state, State::TimeWait | State::Reset)).then(|| Self {
            entry: *entry,
            what: What::Gone,
            silent_us: entry.silent_us(now_us),
            last_clock: None,
            seq: 0,
            ts_val: 0,
            vni: 0,
            vlans: [0; 2],
            vlan_count: 0,
            has_ts_val: false,
            sender: client_of(entry.marks().client(), key.ports()),
            flags: 0,
            before: Some(state),
            freed: [None; 2],
        })
    }

    fn is_pure_syn(&self) -> bool {
        use xdpwatch_prog::record::flags::{ACK, RST, SYN};
        self.flags & (SYN | ACK | RST) == SYN
    }

    /// The step of a connection on `tuple`, as the rules read it; `at_us` is its output's time.
    #[must_use]
    pub fn unpack(&self, tuple: &Tuple, at_us: u64) -> Step {
        let flow = Flow::unpack(&self.entry, at_us);
        let count = usize::from(self.vlan_count.min(2));
        let vlans: ArrayVec<u16, 2> = self.vlans[..count].iter().copied().collect();
        Step {
            what: self.what,
            sender: self.sender,
            client: client_of(flow.marks.client(), [tuple.a.port, tuple.b.port]),
            flags: self.flags,
            seq: self.seq,
            ts_val: self.has_ts_val.then_some(self.ts_val),
            vni: self.vni,
            vlans,
            silent_us: self.silent_us,
            last_clock: self.last_clock,
            before: self.before,
            freed: self.freed,
            flow,
        }
    }
}
