//! What is decided before anything is changed: whether an interface may be captured on, how many
//! workers it gets and where, and what its program is told.

use super::placement::Placement;
use crate::args::{Args, Mode, Select};
use crate::worker::Detection;
use crate::xdp::interface::Interface;
use crate::xdp::numa;
use crate::xdp::program::{Settings, check_queues};
use crate::xdp::safety::{self, Intent};

/// An interface that was looked at and found fit; nothing is changed yet.
#[derive(Debug)]
pub struct Plan {
    /// What the kernel says of it.
    pub interface: Interface,
    /// How many workers it gets.
    pub workers: usize,
    /// A processor for each worker, where that is known.
    pub cpus: Vec<usize>,
}

impl Plan {
    /// Chooses the workers' processors, before any of them starts.
    pub fn place(&mut self, placement: &mut Placement) {
        let near = numa::cpus(numa::node_of(&self.interface.name));
        self.cpus = placement.take(self.workers, &near);
    }
}

/// Looks at an interface and refuses what must be refused.
///
/// # Errors
/// Why it can't, or must not, be captured on.
pub fn plan(name: &str, args: &Args) -> anyhow::Result<Plan> {
    let interface = Interface::look_up(name)?;
    let intent = Intent::of(args.live.mode, args.live.encap, args.live.consume);
    safety::check(&interface, intent)?;
    check_queues(name, interface.queues)?;
    let workers = match args.live.mode {
        Mode::Afxdp => interface.queues as usize,
        Mode::Tap => 1,
    };
    Ok(Plan { interface, workers, cpus: Vec::new() })
}

/// What the program is told, from the arguments.
pub fn settings(args: &Args, detection: &Detection) -> Settings {
    let live = &args.live;
    let ns = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    Settings {
        select_all: live.select == Select::All,
        pass_other: live.pass_other,
        tap: live.mode == Mode::Tap,
        encap: live.encap,
        syn_window_ns: ns(live.syn_window),
        fin_window_ns: ns(live.fin_window),
        filter_seed: detection.seeds[1],
        filter_slots: live.filter_slots,
    }
}
