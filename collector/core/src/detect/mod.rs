//! The rules. Each is one file; its line in the list below is all that the rest needs to know of it.
//!
//! `tuple_reuse` speaks about one worker's contests. The others span connections: the aggregator shows
//! them every step, every finding and the time, and they know no table and no clock.

pub mod limits;
mod standing;
pub mod tuple_reuse;

use alloc::vec::Vec;

use crate::collisions::Collisions;
use crate::finding::{Finding, Rule};
use crate::legs::{Leg, Legs};
use crate::services::Services;
use crate::sight::Sight;
use crate::step::Step;
use crate::tuple::Tuple;

pub use limits::Limits;
pub use mirror_fault::FeedFacts;

/// What rules may know besides the steps: what the aggregator has learned so far.
#[derive(Debug)]
pub struct World<'a> {
    /// Which legs of a balancer belong together.
    pub legs: &'a Legs,
    /// The collisions that stand.
    pub collisions: &'a Collisions,
    /// Which services live, and where their latest connections began.
    pub services: &'a Services,
    /// Of which services the feed shows the answers.
    pub sight: &'a Sight,
}

impl World<'_> {
    /// Whether a collision stands, or stood since `since_us`, on the balancer's leg beyond this one.
    #[must_use]
    pub fn collides_beyond(&self, leg: &Leg, since_us: u64) -> bool {
        let other = self.legs.joined_since(leg, since_us);
        other.is_some_and(|other| self.collisions.stood_since(&other, since_us))
    }
}

/// A step on its way to the rules.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// When, microseconds.
    pub at_us: u64,
    /// The connection's tuple.
    pub tuple: &'a Tuple,
    /// What happened to it.
    pub step: &'a Step,
}

/// A rule that spans connections. Its memory is reserved when it is made, and bounded.
pub trait Detector: Sized {
    /// Its name, number and one line.
    const RULE: Rule;

    /// Made at the start; seeds as for the tables.
    fn new(limits: &Limits, seeds: [u64; 4]) -> Self;

    /// Takes the next step.
    fn step(&mut self, seen: &Seen<'_>, world: &World<'_>, out: &mut Vec<Finding>);

    /// Takes another rule's finding, after it was reported.
    fn finding(&mut self, _finding: &Finding, _world: &World<'_>) {}

    /// Takes thresholds that were changed while running: from now on, what is under way keeps its own.
    fn retune(&mut self, _limits: &Limits) {}

    /// Takes what the capture says of the feed.
    fn feed(&mut self, _facts: FeedFacts) {}

    /// Nothing is due before this time, microseconds: [`Detector::pass_time`] is not called before.
    fn next_us(&self) -> u64;

    /// Time has come to `now_us`: what was due before that is said, with its own deadline as its time.
    /// The order of calls must not matter, only the times: 10 s in one call or in ten say the same.
    fn pass_time(&mut self, now_us: u64, world: &World<'_>, out: &mut Vec<Finding>);

    /// End of input: alerts that stand are resolved.
    fn finish(&mut self, end_us: u64, world: &World<'_>, out: &mut Vec<Finding>) {
        self.pass_time(end_us, world, out);
    }

    /// Cases that it could not follow because all places were taken.
    fn overflow(&self) -> u64;
}

macro_rules! detectors {
    ($($name:ident: $type:ident,)+) => {
        $(pub mod $name;)+

        /// Every rule, in order of its number.
        pub const RULES: &[&Rule] = &[&tuple_reuse::RULE, $(&<$name::$type as Detector>::RULE,)+];

        /// One of each rule that spans connections.
        #[derive(Debug)]
        pub struct Detectors {
            $($name: $name::$type,)+
        }

        impl Detectors {
            /// All of them.
            #[must_use]
            pub fn new(limits: &Limits, seeds: [u64; 4]) -> Self {
                Self { $($name: Detector::new(limits, seeds),)+ }
            }

            /// Shows each the next step.
            pub fn step(&mut self, seen: &Seen<'_>, world: &World<'_>, out: &mut Vec<Finding>) {
                $(self.$name.step(seen, world, out);)+
            }

            /// Shows each a finding that was reported.
            pub fn finding(&mut self, finding: &Finding, world: &World<'_>) {
                $(self.$name.finding(finding, world);)+
            }

            /// Gives each the thresholds that were changed while running.
            pub fn retune(&mut self, limits: &Limits) {
                $(self.$name.retune(limits);)+
            }

            /// Tells each what the capture says of the feed.
            pub fn feed(&mut self, facts: FeedFacts) {
                $(self.$name.feed(facts);)+
            }

            /// Lets time pass for each.
            pub fn pass_time(&mut self, now_us: u64, world: &World<'_>, out: &mut Vec<Finding>) {
                $(if self.$name.next_us() <= now_us {
                    self.$name.pass_time(now_us, world, out);
                })+
            }

            /// End of input for each.
            pub fn finish(&mut self, end_us: u64, world: &World<'_>, out: &mut Vec<Finding>) {
                $(self.$name.finish(end_us, world, out);)+
            }

            /// Name of each and how many cases it could not follow.
            pub fn each_overflow(&self, mut f: impl FnMut(&'static str, u64)) {
                $(f(stringify!($name), self.$name.overflow());)+
            }
        }
    };
}

/// The rule with this name.
#[must_use]
pub fn rule(name: &str) -> Option<&'static Rule> {
    RULES.iter().copied().find(|rule| rule.name == name)
}

// A new rule is a file beside this one, and one line here.
detectors! {
    connect_stalled: ConnectStalled,
    listener_gap: ListenerGap,
    host_timestamp_refusal: HostTimestampRefusal,
    mixed_clocks: MixedClocks,
    port_pressure: PortPressure,
    half_closed: HalfClosed,
    fin_unacknowledged: FinUnacknowledged,
    churn: Churn,
    mirror_fault: MirrorFault,
}
