//! `port_pressure`: the ports of one source towards one service are running out.
//!
//! Every pair's connections are roughly counted; those of heavy pairs port by port. Said before the
//! ports are gone: by the share that is held, or by the forecast, which knows of every wait when it
//! ends. It looks no further than a TIME-WAIT lasts (60 s): what is opened after that is not known.

use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use ahash::RandomState;
use hashbrown::HashMap;

use super::{Detector, Limits, Seen, World};
use crate::finding::{Endpoint, Fact, Facts, Finding, Rule, State};
use crate::flow::{self, SECOND_US};
use crate::grounds::{Example, Examples, Sign};
use crate::ports::{Ports, Pressure};
use crate::prefix::Prefix;
use crate::step::{Step, What};
use crate::subject::Subject;

/// Pairs roughly counted.
const CANDIDATES: usize = 1 << 14;

/// Pairs counted port by port.
const HEAVY: usize = 64;

/// New connections of a pair are counted over this time.
const WINDOW_US: u64 = 10 * SECOND_US;

/// As many within the window make a pair heavy: 1500 in TIME-WAIT, a twentieth of Linux's range.
const HEAVY_OPENED: u32 = 256;

/// As many open at a time do too. In a configured range that is small, a share of it does.
const HEAVY_OPEN: u32 = 2048;

/// Fewer ports held make a pair light again.
const LIGHT_HELD: u32 = 128;

/// But not before it was counted for as long as a TIME-WAIT lasts.
const SETTLE_US: u64 = 60 * SECOND_US;

/// Severity 1 from this share on, percent.
const GONE: u32 = 95;

/// Resolved below this share, percent.
const RELAXED: u32 = 70;

/// A forecast counts from this share on, percent: a short burst is no exhaustion.
const FORECAST_FROM: u32 = 25;

/// Where the range is not configured it counts from as many ports on, too: they fit, at every second
/// port as Linux goes, above 49152, before a wider range shows itself.
const FORECAST_LEAST: u32 = 8192;

/// Seconds in a row that a forecast must stand before it is said.
const FORECAST_STANDS: u32 = 3;

/// Seconds in a row of relaxation before it is said.
const RELAXED_STANDS: u32 = 10;

/// A source and a service, within one virtual network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pair {
    source: [u8; 16],
    service: Endpoint,
    realm: u32,
}

impl Hash for Pair {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from_ne_bytes(self.source));
        state.write_u128(u128::from_ne_bytes(self.service.addr));
        state.write_u64(u64::from(self.service.port) << 32 | u64::from(self.realm));
    }
}

/// A pair roughly counted.
#[derive(Clone, Copy, Debug, Default)]
struct Candidate {
    window: u64,
    opened: u32,
    open: u32,
}

/// A pair counted port by port.
#[derive(Debug, Default)]
struct Heavy {
    pair: Option<(Pair, Subject)>,
    ports: Ports,
    /// When it became heavy, microseconds.
    since_us: u64,
    /// The severity that stands.
    fired: Option<u8>,
    soon: u32,
    relaxed: u32,
    /// Connections that took ports.
    examples: Examples,
}

/// The rule.
#[derive(Debug)]
pub struct PortPressure {
    high: u32,
    soon_us: u64,
    ranges: Vec<(Prefix, (u16, u16))>,
    candidates: HashMap<Pair, Candidate, RandomState>,
    places: HashMap<Pair, usize, RandomState>,
    heavy: Vec<Heavy>,
    /// The window in which candidates were last sorted out.
    cleaned: u64,
    next_us: u64,
    overflow: u64,
}

impl Detector for PortPressure {
    const RULE: Rule = Rule {
        name: "port_pressure",
        id: 6,
        summary: "the ports of one source towards one service are running out",
    };

    fn new(limits: &Limits, seeds: [u64; 4]) -> Self {
        let state = RandomState::with_seeds(seeds[0], seeds[1], seeds[2], seeds[3]);
        Self {
            high: limits.ports_high,
            soon_us: limits.ports_soon_us,
            ranges: limits.port_ranges.clone(),
            candidates: HashMap::with_capacity_and_hasher(CANDIDATES, state.clone()),
            places: HashMap::with_capacity_and_hasher(2 * HEAVY, state),
            heavy: core::iter::repeat_with(Heavy::default).take(HEAVY).collect(),
            cleaned: 0,
            next_us: 0,
            overflow: 0,
        }
    }

    fn retune(&mut self, limits: &Limits) {
        self.high = limits.ports_high;
        self.soon_us = limits.ports_soon_us;
        self.ranges.clone_from(&limits.port_ranges);
    }

    fn step(&mut self, seen: &Seen<'_>, _world: &World<'_>, _out: &mut Vec<Finding>) {
        let (client, service) = seen.step.ends(seen.tuple);
        let pair = Pair { source: client.addr, service, realm: seen.tuple.realm };
        if let Some(place) = self.places.get(&pair) {
            self.heavy[*place].count(client.port, seen);
        } else if let Some(change) = Change::of(seen.step)
            && let Some(open) = self.is_heavy(pair, change, seen.at_us)
        {
            self.promote(pair, open, client.port, seen);
        }
    }

    #[inline]
    fn next_us(&self) -> u64 {
        if self.places.is_empty() { u64::MAX } else { self.next_us }
    }

    fn pass_time(&mut self, now_us: u64, _world: &World<'_>, out: &mut Vec<Finding>) {
        if self.places.is_empty() {
            return;
        }
        while self.next_us <= now_us && !self.places.is_empty() {
            self.look(self.next_us, out);
            self.next_us += SECOND_US;
        }
    }

    fn finish(&mut self, end_us: u64, world: &World<'_>, out: &mut Vec<Finding>) {
        self.pass_time(end_us, world, out);
        for heavy in &mut self.heavy {
            let Some((pair, subject)) = heavy.pair.take() else { continue };
            if let Some(severity) = heavy.fired.take() {
                let range = configured(&self.ranges, &pair);
                let pressure = heavy.ports.pressure(range);
                out.push(resolved(&subject, &pressure, range.is_some(), severity, end_us));
            }
        }
    }

    fn overflow(&self) -> u64 {
        self.overflow
    }
}

impl PortPressure {
    /// Counts what happened to a pair that is not heavy. If it is now: how many connections it has open.
    fn is_heavy(&mut self, pair: Pair, change: Change, at_us: u64) -> Option<u32> {
        let window = at_us / WINDOW_US;
        let known = match self.candidates.get_mut(&pair) {
            Some(known) => known,
            None => self.new_candidate(pair, window)?,
        };
        if known.window != window {
            (known.window, known.opened) = (window, 0);
        }
        known.opened += u32::from(change.is_new);
        match change {
            Change { is_open: true, .. } => known.open += 1,
            Change { is_new: true, .. } => {}
            _ => known.open = known.open.saturating_sub(1),
        }
        let known = *known;
        let range = configured(&self.ranges, &pair);
        let part = |share: u32| range.map(|(first, last)| u32::from(last - first) / share);
        let opened = part(64).map_or(HEAVY_OPENED, |few| few.min(HEAVY_OPENED));
        let open = part(16).map_or(HEAVY_OPEN, |few| few.min(HEAVY_OPEN));
        (known.opened >= opened || known.open >= open).then_some(known.open)
    }

    /// A place for a pair, if there is one.
    fn new_candidate(&mut self, pair: Pair, window: u64) -> Option<&mut Candidate> {
        if self.candidates.len() >= CANDIDATES {
            if self.cleaned != window {
                self.cleaned = window;
                self.candidates.retain(|_, old| old.open > 0 || old.window + 1 >= window);
            }
            if self.candidates.len() >= CANDIDATES {
                self.overflow += 1;
                return None;
            }
        }
        Some(self.candidates.entry(pair).or_default())
    }

    /// From now on the pair is counted port by port, if there is a place.
    fn promote(&mut self, pair: Pair, open: u32, port: u16, seen: &Seen<'_>) {
        let Some(place) = self.heavy.iter().position(|heavy| heavy.pair.is_none()) else {
            self.overflow += 1;
            return;
        };
        if self.places.is_empty() {
            self.next_us = (seen.at_us / SECOND_US + 1) * SECOND_US;
        }
        self.candidates.remove(&pair);
        self.places.insert(pair, place);
        let heavy = &mut self.heavy[place];
        heavy.pair = Some((pair, Subject::pair(seen, seen.at_us)));
        (heavy.fired, heavy.soon, heavy.relaxed) = (None, 0, 0);
        heavy.since_us = seen.at_us;
        heavy.ports.begin(open, seen.at_us);
        heavy.examples = Examples::default();
        heavy.count(port, seen);
    }

    /// Looks at every heavy pair, at a whole second.
    fn look(&mut self, at_us: u64, out: &mut Vec<Finding>) {
        for heavy in &mut self.heavy {
            let Some((pair, _)) = heavy.pair else { continue };
            heavy.ports.pass_time(at_us);
            let range = configured(&self.ranges, &pair);
            let settled = at_us - heavy.since_us >= SETTLE_US && heavy.fired.is_none();
            if settled && heavy.ports.held() < light(range) {
                heavy.pair = None;
                self.places.remove(&pair);
                continue;
            }
            let pressure = heavy.ports.pressure(range);
            out.extend(heavy.judge(&pressure, range.is_some(), self.high, self.soon_us, at_us));
        }
    }
}

impl Heavy {
    /// Takes a step of the pair.
    fn count(&mut self, port: u16, seen: &Seen<'_>) {
        if matches!(seen.step.what, What::Opened { .. }) {
            self.examples.add(Example::of(seen, Sign::PortTaken));
        }
        count(&mut self.ports, port, seen.step, seen.at_us);
    }

    /// What is to be said of the pair now.
    fn judge(
        &mut self,
        pressure: &Pressure,
        configured: bool,
        high: u32,
        soon_us: u64,
        at_us: u64,
    ) -> Option<Finding> {
        let percent = pressure.percent();
        let soon = pressure.exhausted_in_us.is_some_and(|left_us| left_us <= soon_us);
        let founded = configured || pressure.held >= FORECAST_LEAST;
        let counts = soon && founded && percent >= FORECAST_FROM;
        self.soon = if counts { self.soon + 1 } else { 0 };
        let severity = match percent {
            GONE.. => Some(1),
            _ if percent >= high => Some(2),
            _ if self.soon >= FORECAST_STANDS => Some(2),
            _ => None,
        };
        self.relaxed = if percent < RELAXED.min(high) && self.soon == 0 { self.relaxed + 1 } else { 0 };
        let (_, subject) = self.pair.as_mut()?;
        if let Some(severity) = severity.filter(|now| self.fired.is_none_or(|old| *now < old)) {
            if self.fired.is_none() {
                subject.began_us = at_us;
            }
            self.fired = Some(severity);
            let cause = if percent >= high { "ports_held" } else { "ports_forecast" };
            let finding = subject.finding(&PortPressure::RULE, State::Firing, at_us);
            let (facts, grounds) = (facts(subject, pressure, configured), self.examples.grounds());
            return Some(Finding { cause, severity, facts, grounds, ..finding });
        }
        let severity = self.fired.filter(|_| self.relaxed >= RELAXED_STANDS)?;
        self.fired = None;
        Some(resolved(subject, pressure, configured, severity, at_us))
    }
}

fn resolved(
    subject: &Subject,
    pressure: &Pressure,
    configured: bool,
    severity: u8,
    at_us: u64,
) -> Finding {
    let finding = subject.finding(&PortPressure::RULE, State::Resolved, at_us);
    Finding { cause: "ports_held", severity, facts: facts(subject, pressure, configured), ..finding }
}

fn facts(subject: &Subject, pressure: &Pressure, configured: bool) -> Facts {
    let from = if configured { "config" } else { "evidence" };
    let left = pressure.exhausted_in_us.map_or(Fact::Unknown, |us| Fact::count(us / SECOND_US));
    Facts::from_iter([
        ("source", Fact::Address(subject.src().addr)),
        ("dest_ip", Fact::Address(subject.dst().addr)),
        ("dest_port", Fact::count(subject.dst().port)),
        ("held", Fact::count(pressure.held)),
        ("busy", Fact::count(pressure.busy)),
        ("time_wait", Fact::count(pressure.waiting)),
        ("percent", Fact::count(pressure.percent())),
        ("range.first", Fact::count(pressure.range.0)),
        ("range.last", Fact::count(pressure.range.1)),
        ("range.size", Fact::count(pressure.size())),
        ("range.from", Fact::Word(from)),
        ("arrivals_per_s", Fact::count(pressure.arrivals_per_s)),
        ("exhausted_in_s", left),
        ("sources_needed", Fact::count(pressure.sources_needed)),
    ])
}

fn configured(ranges: &[(Prefix, (u16, u16))], pair: &Pair) -> Option<(u16, u16)> {
    ranges.iter().find(|(prefix, _)| prefix.contains(&pair.source)).map(|(_, range)| *range)
}

/// A heavy pair that holds fewer ports than this gives its place up.
fn light(range: Option<(u16, u16)>) -> u32 {
    range.map_or(LIGHT_HELD, |(first, last)| (u32::from(last - first) / 128).min(LIGHT_HELD))
}

/// What a step changes of the connections that a pair has.
#[derive(Clone, Copy)]
struct Change {
    /// There is one more.
    is_new: bool,
    /// It is open now; otherwise no longer, or not yet.
    is_open: bool,
}

impl Change {
    /// `None` for most steps.
    fn of(step: &Step) -> Option<Self> {
        let is_open = is_open(step.flow.state);
        match step.what {
            What::Opened { .. } => Some(Self { is_new: true, is_open }),
            What::Moved if step.before.is_some_and(self::is_open) != is_open => {
                Some(Self { is_new: false, is_open })
            }
            _ => None,
        }
    }
}

/// Whether both ends hold the connection.
fn is_open(state: flow::State) -> bool {
    (flow::State::SynReceived..=flow::State::FinWait2).contains(&state)
}

/// Takes a step of a heavy pair.
fn count(ports: &mut Ports, port: u16, step: &Step, at_us: u64) {
    use flow::State::{Closing, LastAck, Reset, SynReceived, SynSent, TimeWait};
    match (step.what, step.flow.state) {
        (What::Opened { .. }, state @ (SynSent | SynReceived)) => {
            ports.open(port, state == SynReceived, at_us);
        }
        (What::SynRepeated, state) => ports.keep(port, state != SynSent, at_us),
        (What::Opened { .. } | What::Moved, state) => match state {
            // In LAST-ACK and CLOSING an end has both FINs: it waits, whatever comes.
            TimeWait | LastAck | Closing => ports.end(port, true, at_us),
            Reset => ports.end(port, false, at_us),
            _ => ports.keep(port, true, at_us),
        },
        _ => {}
    }
}
