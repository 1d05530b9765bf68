//! `mirror_fault`: the feed itself is broken: one direction is missing, segments come twice, segments
//! are lost, or the two directions of a connection reach different workers.
//!
//! Judged every ten seconds from what was seen within them; loss from what the capture counts and, where
//! the feed carries data, from what ends acknowledge that was never seen. Copies are harmless to the other rules, which know them: severity 3, the rest 2.

use alloc::vec;
use alloc::vec::Vec;

use ahash::RandomState;

use super::{Detector, Limits, Seen, World};
use crate::finding::{Fact, Facts, Finding, Rule, State};
use crate::flow::SECOND_US;
use crate::grounds::{Example, Examples, Sign};
use crate::sight::Shown;
use crate::step::What;
use crate::subject::Subject;
use crate::tuple::Tuple;

/// Time between two judgements.
const WINDOW_US: u64 = 10 * SECOND_US;

/// Fewer connections, or segments, within the window tell nothing.
const LEAST: u64 = 20;

/// A segment again this soon is its copy: no sender repeats a SYN or FIN as fast.
const COPY_US: u64 = 1000;

/// Clean windows in a row that resolve an alert.
const CLEAN: u32 = 3;

/// Half-seen connections remembered, to find their other halves.
const HALVES: usize = 1 << 12;

/// Data this long after its acknowledgment was only shown late; a retransmission takes longer, and
/// nobody sends again what is acknowledged.
const LATE_US: u64 = 50_000;

/// What the capture knows of the feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedFacts {
    /// Share of the frames that rules need that was lost lately, millionths.
    pub loss_ppm: u32,
    /// When the last time ended, or will end, in which nothing was seen; 0 if there was none,
    /// `u64::MAX` while it lasts.
    pub blind_until_us: u64,
}

/// What may be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    OneDirection,
    Duplicates,
    Loss,
    AsymmetricQueues,
    /// Loss, as acknowledgments show it.
    Unseen,
}

const KINDS: [Kind; 5] =
    [Kind::OneDirection, Kind::Duplicates, Kind::Loss, Kind::AsymmetricQueues, Kind::Unseen];

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::OneDirection => "one_direction",
            Self::Duplicates => "duplicates",
            Self::Loss | Self::Unseen => "loss",
            Self::AsymmetricQueues => "asymmetric_queues",
        }
    }

    /// From this share on something is wrong, percent.
    fn threshold(self) -> u64 {
        match self {
            Self::OneDirection | Self::AsymmetricQueues => 20,
            Self::Duplicates => 10,
            Self::Loss => 1,
            // Of connections, each of which has many segments.
            Self::Unseen => 5,
        }
    }

    fn severity(self) -> u8 {
        if self == Self::Duplicates { 3 } else { 2 }
    }
}

/// One kind's alert.
#[derive(Debug, Default)]
struct Alert {
    subject: Option<Subject>,
    clean: u32,
    /// The last window's share, percent.
    share: i64,
}

/// Counted within the window.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    both: u64,
    halves: u64,
    /// Halves of which the other half was seen too, apart.
    split: u64,
    openers: u64,
    copies: u64,
    /// Connections that began.
    opened: u64,
    /// Connections of which data was acknowledged that was never seen.
    unseen: u64,
}

/// The rule.
#[derive(Debug)]
pub struct MirrorFault {
    facts: FeedFacts,
    window: Window,
    /// Of the window, by kind.
    examples: [Examples; KINDS.len()],
    next_us: u64,
    halves: Vec<Option<(Tuple, Shown)>>,
    state: RandomState,
    /// Connections of which acknowledged data was not seen, and since when.
    unseen: Vec<Option<(Tuple, u64)>>,
    alerts: [Alert; KINDS.len()],
}

impl Detector for MirrorFault {
    const RULE: Rule =
        Rule { name: "mirror_fault", id: 10, summary: "the mirrored traffic is not complete" };

    fn new(_limits: &Limits, seeds: [u64; 4]) -> Self {
        Self {
            facts: FeedFacts::default(),
            window: Window::default(),
            examples: Default::default(),
            next_us: 0,
            halves: vec![None; HALVES],
            unseen: vec![None; HALVES],
            state: RandomState::with_seeds(seeds[0], seeds[1], seeds[2], seeds[3]),
            alerts: Default::default(),
        }
    }

    fn step(&mut self, seen: &Seen<'_>, _world: &World<'_>, _out: &mut Vec<Finding>) {
        if self.next_us == 0 {
            self.next_us = (seen.at_us / WINDOW_US + 1) * WINDOW_US;
        }
        let is_copy = seen.step.silent_us < COPY_US;
        match seen.step.what {
            What::SynRepeated | What::FinRepeated if is_copy => {
                self.window.copies += 1;
                self.example(Kind::Duplicates, seen, Sign::Copy);
            }
            What::Opened { .. } if seen.step.is_pure_syn() => {
                self.window.openers += 1;
                self.window.opened += 1;
            }
            What::AckedUnseen | What::OldData => self.hole(seen),
            What::Moved if seen.step.has(xdpwatch_prog::record::flags::FIN) => {
                self.window.openers += 1;
            }
            _ => {}
        }
        match Shown::by(seen.step) {
            Some(Shown::Both) => self.window.both += 1,
            Some(half) => self.half(seen, half),
            None => {}
        }
    }

    #[inline]
    fn next_us(&self) -> u64 {
        if self.next_us == 0 { u64::MAX } else { self.next_us }
    }

    fn pass_time(&mut self, now_us: u64, _world: &World<'_>, out: &mut Vec<Finding>) {
        if self.next_us == 0 || self.next_us > now_us {
            return;
        }
        let at_us = self.next_us;
        // Windows without a packet tell nothing, so they are passed over.
        self.next_us = (now_us / WINDOW_US + 1) * WINDOW_US;
        let window = core::mem::take(&mut self.window);
        let Window { both, halves, split, openers, copies, opened, unseen } = window;
        let apart = split * 2 > halves;
        let (one_sided, apart) = if apart { (0, halves) } else { (halves, 0) };
        self.judge(Kind::OneDirection, one_sided, both + halves, at_us, out);
        self.judge(Kind::AsymmetricQueues, apart, both + halves, at_us, out);
        self.judge(Kind::Duplicates, copies, openers, at_us, out);
        self.judge(Kind::Loss, u64::from(self.facts.loss_ppm), 1_000_000, at_us, out);
        self.judge(Kind::Unseen, unseen, opened, at_us, out);
        self.examples = Default::default();
    }

    fn feed(&mut self, facts: FeedFacts) {
        self.facts = facts;
    }

    fn finish(&mut self, end_us: u64, world: &World<'_>, out: &mut Vec<Finding>) {
        self.pass_time(end_us, world, out);
        for kind in KINDS {
            let alert = &mut self.alerts[kind as usize];
            if let Some(subject) = alert.subject.take() {
                out.push(finding(&subject, kind, alert.share, State::Resolved, end_us));
            }
        }
    }

    fn overflow(&self) -> u64 {
        0
    }
}

impl MirrorFault {
    fn example(&mut self, kind: Kind, seen: &Seen<'_>, sign: Sign) {
        self.examples[kind as usize].add(Example::of(seen, sign));
    }

    /// One half of a connection; its other half may have been seen, as a connection of its own.
    fn half(&mut self, seen: &Seen<'_>, half: Shown) {
        let tuple = seen.tuple;
        self.example(Kind::OneDirection, seen, Sign::OneSided);
        self.window.halves += 1;
        let slot = self.state.hash_one(tuple) as usize % HALVES;
        match self.halves[slot] {
            Some((other, shown)) if other == *tuple && shown != half => {
                self.window.split += 2;
                self.example(Kind::AsymmetricQueues, seen, Sign::OneSided);
                self.halves[slot] = None;
            }
            _ => self.halves[slot] = Some((*tuple, half)),
        }
    }

    /// Acknowledged data was not seen, or did come after all. Each connection counts once.
    fn hole(&mut self, seen: &Seen<'_>) {
        let slot = self.state.hash_one(seen.tuple) as usize % HALVES;
        let began_us = seen.step.flow.first_us;
        let known = self.unseen[slot].filter(|(tuple, since_us)| {
            tuple == seen.tuple && *since_us >= began_us
        });
        match (seen.step.what, known) {
            (What::AckedUnseen, None) => {
                self.window.unseen += 1;
                self.example(Kind::Unseen, seen, Sign::AckedUnseen);
                self.unseen[slot] = Some((*seen.tuple, seen.at_us));
            }
            (What::OldData, Some((_, since_us))) if seen.at_us - since_us <= LATE_US => {
                self.window.unseen = self.window.unseen.saturating_sub(1);
                self.unseen[slot] = None;
            }
            _ => {}
        }
    }

    /// Says what follows of `bad` among `all`.
    fn judge(&mut self, kind: Kind, bad: u64, all: u64, at_us: u64, out: &mut Vec<Finding>) {
        let alert = &mut self.alerts[kind as usize];
        if all < LEAST {
            return;
        }
        let is_bad = bad * 100 >= all * kind.threshold();
        let share = i64::try_from(bad * 100 / all).unwrap_or(100).min(100);
        alert.share = share;
        match &alert.subject {
            None if is_bad => {
                // The subject is the same for all kinds, so its beginning tells them apart.
                let subject = Subject::feed(at_us + kind as u64);
                let grounds = self.examples[kind as usize].grounds();
                let finding = finding(&subject, kind, share, State::Firing, at_us);
                out.push(Finding { grounds, ..finding });
                *alert = Alert { subject: Some(subject), clean: 0, share };
            }
            None => {}
            Some(_) if is_bad => alert.clean = 0,
            Some(subject) => {
                alert.clean += 1;
                if alert.clean >= CLEAN {
                    out.push(finding(subject, kind, share, State::Resolved, at_us));
                    alert.subject = None;
                }
            }
        }
    }
}

fn finding(subject: &Subject, kind: Kind, share: i64, state: State, at_us: u64) -> Finding {
    let mut facts = Facts::from_iter([
        ("kind", Fact::Word(kind.word())),
        ("share", Fact::Number(share)),
    ]);
    let told_by = match kind {
        Kind::Loss => Some("counters"),
        Kind::Unseen => Some("acknowledgments"),
        _ => None,
    };
    facts.extend(told_by.map(|by| ("told_by", Fact::Word(by))));
    let blank = subject.finding(&MirrorFault::RULE, state, at_us);
    Finding { cause: kind.word(), severity: kind.severity(), facts, ..blank }
}
