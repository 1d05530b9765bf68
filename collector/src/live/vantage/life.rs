//! An interface's life: it goes down and up, loses its carrier, is removed and made anew, its MTU or
//! queues change, somebody takes the program off. Whatever it was, capturing goes on by itself, and the
//! gap is told. The workers and their tables stay.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::warn;

use super::Vantage;
use crate::args::{Args, Mode};
use crate::capture::afxdp::Queue;
use crate::interruption::{Interruption, Reason};
use crate::live::bell::Bell;
use crate::live::intake::Inlet;
use crate::live::plan;
use crate::live::port::{Gap, Port};
use crate::log::complain;
use crate::xdp::link::Link;

impl Reason {
    /// Whether it is over only when program and queues have been opened again.
    fn takes_opening(self) -> bool {
        !matches!(self, Self::LinkDown | Self::NoCarrier)
    }
}

impl Vantage {
    /// Looks at every interface, does what is to be done, and returns what is to be told.
    pub fn look_after(&mut self, args: &Args) -> Vec<Interruption> {
        let mut told = std::mem::take(&mut self.untold);
        for place in 0..self.ports.len() {
            // What the kernel does not answer now it will answer the next time.
            let Ok(link) = self.links.look(self.ports[place].name()) else { continue };
            self.look_at(place, link.as_ref(), args, &mut told);
        }
        self.looked_ns = self.clock.now_ns();
        let is_blind = self.ports.iter().any(|port| port.gap.is_some());
        if is_blind || !told.is_empty() {
            let until_us = if is_blind { u64::MAX } else { self.looked_ns / 1000 };
            self.aggregator.blind_until_us.store(until_us, Ordering::Relaxed);
        }
        told
    }

    fn look_at(
        &mut self,
        place: usize,
        link: Option<&Link>,
        args: &Args,
        told: &mut Vec<Interruption>,
    ) {
        let failure = self.queue_failure(place);
        let port = &mut self.ports[place];
        let has_flapped = link.is_some_and(|link| port.has_flapped(link));
        let trouble = port.trouble(link).or_else(|| {
            let reason = failure.as_ref().map(|_| Reason::QueueFailed);
            reason.or_else(|| (has_flapped && port.gap.is_none()).then_some(Reason::LinkDown))
        });
        if let Some(failure) = &failure {
            warn!(interface = port.name(), "a receive queue failed: {failure}");
        }
        if let Some(reason) = trouble
            && port.gap.is_none()
        {
            port.gap = Some(Gap { since_ns: self.looked_ns, reason, is_let_go: false });
            warn!(interface = port.name(), reason = reason.word(), "nothing is captured any more");
            told.push(self.interruption(place, reason, None));
        }
        let Some(gap) = self.ports[place].gap else { return };
        let is_opened_again = failure.is_some() || trouble.is_some_and(Reason::takes_opening);
        if is_opened_again && !gap.is_let_go {
            self.let_go(place);
        }
        if self.goes_on(place, link, args) {
            let gap_ns = self.clock.now_ns().saturating_sub(gap.since_ns);
            let port = &mut self.ports[place];
            port.gap = None;
            let gap_ms = gap_ns / 1_000_000;
            warn!(interface = port.name(), gap_ms, "capturing goes on");
            self.count_gap(gap_ns);
            told.push(self.interruption(place, gap.reason, Some(gap_ns)));
        }
    }

    /// Whether the gap is over: everything is in place, or could be opened again.
    fn goes_on(&mut self, place: usize, link: Option<&Link>, args: &Args) -> bool {
        let port = &self.ports[place];
        let is_let_go = port.gap.is_some_and(|gap| gap.is_let_go);
        if !is_let_go {
            return port.trouble(link).is_none();
        }
        if !link.is_some_and(|link| link.is_up && link.has_carrier) || !self.is_emptied(place) {
            return false;
        }
        match self.reopen(place, args) {
            Ok(()) => true,
            Err(error) => {
                self.ports[place].detach();
                self.complain_once(&format!(
                    "interface {} can't be captured on again yet: {error:#}",
                    self.ports[place].name()
                ));
                false
            }
        }
    }

    /// Detaches the program and lets the workers empty and give up the queues.
    fn let_go(&mut self, place: usize) {
        let port = &mut self.ports[place];
        port.detach();
        if let Some(gap) = &mut port.gap {
            gap.is_let_go = true;
        }
        self.inlets(place).for_each(|inlet| inlet.order(Vec::new()));
        self.bells.iter().for_each(Bell::ring);
    }

    /// Opens queues and attaches, as at the start. Where there are more queues than there were, a worker
    /// gets several.
    fn reopen(&mut self, place: usize, args: &Args) -> anyhow::Result<()> {
        let interface = plan::look_at(self.ports[place].name(), args)?;
        self.ports[place].look_again(interface);
        if args.live.mode == Mode::Afxdp {
            let queues = self.open(place, args)?;
            let inlets: Vec<_> = self.inlets(place).cloned().collect();
            let mut shares: Vec<Vec<_>> = inlets.iter().map(|_| Vec::new()).collect();
            let workers = shares.len();
            for (number, queue) in queues.into_iter().enumerate() {
                shares[number % workers].push(queue);
            }
            for (inlet, share) in inlets.iter().zip(shares) {
                inlet.order(share);
            }
            self.bells.iter().for_each(Bell::ring);
        }
        self.ports[place].attach(&mut self.program, args)?;
        self.complained.clear();
        Ok(())
    }

    fn inlets(&self, place: usize) -> impl Iterator<Item = &Arc<Inlet<Queue>>> {
        self.hands
            .iter()
            .filter(move |hand| hand.place == place)
            .filter_map(|hand| hand.inlet.as_ref())
    }

    fn is_emptied(&self, place: usize) -> bool {
        self.inlets(place).all(|inlet| inlet.is_done())
    }

    fn queue_failure(&self, place: usize) -> Option<String> {
        self.inlets(place).find_map(|inlet| inlet.take_failure())
    }

    pub(super) fn count_gap(&mut self, gap_ns: u64) {
        self.gaps += 1;
        self.gaps_ns += gap_ns;
    }

    /// The gaps so far, those that last included: how many, and how long together, nanoseconds.
    pub(super) fn gaps(&self) -> (u64, u64) {
        let now_ns = self.clock.now_ns();
        let open = self.ports.iter().filter_map(|port| port.gap);
        open.fold((self.gaps, self.gaps_ns), |(count, ns), gap| {
            (count + 1, ns + now_ns.saturating_sub(gap.since_ns))
        })
    }

    fn interruption(&self, place: usize, reason: Reason, gap_ns: Option<u64>) -> Interruption {
        let iface = self.ports[place].name().to_owned();
        Interruption { at_ns: self.clock.now_ns(), iface, reason, gap_ns }
    }

    /// Says on standard error what was not the last thing said.
    fn complain_once(&mut self, what: &str) {
        if self.complained != what {
            complain(what);
            what.clone_into(&mut self.complained);
        }
    }

    /// The first interface that shows nothing.
    pub(super) fn blind(&self) -> Option<(&Port, Gap)> {
        self.ports.iter().find_map(|port| Some((port, port.gap?)))
    }
}
