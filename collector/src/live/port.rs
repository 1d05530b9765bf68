//! One interface of a vantage point: what the program is attached to, and what the interface itself
//! loses.

use anyhow::Context;

use super::plan::Plan;
use crate::args::{Args, Mode};
use crate::capture::sys::Promiscuous;
use crate::interruption::Reason;
use crate::xdp::interface::Interface;
use crate::xdp::link::Link;
use crate::xdp::program::{Attachment, Program};

/// An interface of a vantage point.
pub struct Port {
    /// Its number there; the program's number for it too.
    pub place: u32,
    /// What the kernel said of it when it was opened.
    pub interface: Interface,
    attachment: Option<Attachment>,
    promiscuous: Option<Promiscuous>,
    /// What the interface's own counter stood at when it was opened.
    lost_before: u64,
    /// What was lost in interfaces of this name that are gone.
    lost_earlier: u64,
    /// Frames lost in the interface.
    pub lost: u64,
    /// How often its carrier had gone away when that was last looked at.
    carrier_losses: Option<u32>,
    /// The gap that it is in.
    pub gap: Option<Gap>,
}

/// A time in which the interface shows nothing.
#[derive(Clone, Copy, Debug)]
pub struct Gap {
    /// Since when, at most, nanoseconds.
    pub since_ns: u64,
    /// Why.
    pub reason: Reason,
    /// Whether the program and the queues were let go of, to be opened again.
    pub is_let_go: bool,
}

impl Port {
    /// Not attached yet.
    pub fn new(place: u32, plan: Plan) -> Self {
        Self {
            place,
            lost_before: plan.interface.lost(),
            interface: plan.interface,
            attachment: None,
            promiscuous: None,
            lost_earlier: 0,
            lost: 0,
            carrier_losses: None,
            gap: None,
        }
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.interface.name
    }

    /// The last step: everything that frames will need is in place. Says where the program runs.
    ///
    /// # Errors
    /// The kernel's, with their cure.
    pub fn attach(&mut self, program: &mut Program, args: &Args) -> anyhow::Result<&'static str> {
        let Interface { index, mtu, .. } = self.interface;
        if args.live.encap.is_none() && args.live.mode == Mode::Afxdp {
            let joined = Promiscuous::join(index)
                .context("asking for promiscuous mode; run it as root or give it CAP_NET_RAW")?;
            self.promiscuous = Some(joined);
        }
        let attachment = program.attach(self.place, index, mtu, args.live.xdp_mode)?;
        let place = if attachment.in_driver { "in the driver" } else { "in generic mode" };
        self.attachment = Some(attachment);
        Ok(place)
    }

    /// Takes the program off.
    pub fn detach(&mut self) {
        self.attachment = None;
        self.promiscuous = None;
    }

    /// Reads what the interface lost. Its counter ends with it.
    pub fn count_losses(&mut self) {
        let now = self.interface.lost().saturating_sub(self.lost_before);
        self.lost = self.lost.max(self.lost_earlier + now);
    }

    /// Takes what the kernel says of it now: it is about to be opened again.
    pub fn look_again(&mut self, interface: Interface) {
        self.lost_earlier = self.lost;
        self.lost_before = interface.lost();
        self.interface = interface;
        self.carrier_losses = None;
    }

    /// Why nothing is seen of it, by what the kernel says of its link.
    pub fn trouble(&self, link: Option<&Link>) -> Option<Reason> {
        let Some(link) = link else { return Some(Reason::Removed) };
        if link.index != self.interface.index {
            return Some(Reason::Removed);
        }
        if !link.is_up {
            return Some(Reason::LinkDown);
        }
        if !link.has_carrier {
            return Some(Reason::NoCarrier);
        }
        let attached = self.attachment.as_ref().map(|attachment| attachment.program);
        if attached.is_none_or(|program| !link.programs.contains(&program)) {
            return Some(Reason::Detached);
        }
        if link.mtu != self.interface.mtu {
            return Some(Reason::MtuChanged);
        }
        (link.queues != self.interface.queues).then_some(Reason::QueuesChanged)
    }

    /// Whether the carrier went away, and came back, since this was last asked.
    pub fn has_flapped(&mut self, link: &Link) -> bool {
        let before = self.carrier_losses.replace(link.carrier_losses);
        before.is_some_and(|before| link.carrier_losses > before)
    }
}
