//! What is decided before anything is changed: whether an interface may be captured on, how many
//! workers it gets and where, and what its program is told.

use anyhow::bail;
use tracing::warn;
use xdpwatch_prog::maps::INTERFACES_MAX;

use super::placement::Placement;
use crate::args::{Args, Mode, Owner};
use crate::capture::sys;
use crate::usage::Usage;
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
    /// How many workers it gets. In tap mode one takes the copies of all interfaces.
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

/// The interfaces of each vantage point: all those given are one and feed one set of tables, unless they
/// are to be compared.
pub fn points(args: &Args) -> Vec<Vec<String>> {
    if args.compare {
        return args.iface.iter().map(|name| vec![name.clone()]).collect();
    }
    vec![args.iface.clone()]
}

/// Looks at the interfaces of one vantage point and refuses what must be refused.
///
/// # Errors
/// Why one can't, or must not, be captured on, or not beside the others.
pub fn plan(names: &[String], args: &Args) -> anyhow::Result<Vec<Plan>> {
    if names.len() > INTERFACES_MAX {
        bail!(Usage(format!(
            "{} interfaces are more than one set of tables takes: give {INTERFACES_MAX} at most to \
             each xdpwatch",
            names.len()
        )));
    }
    if let Some(twice) = (1..names.len()).find(|n| names[..*n].contains(&names[*n])) {
        let name = &names[twice];
        bail!(Usage(format!("interface {name} is given twice: leave one of them out")));
    }
    if names.len() > 1 && args.live.owner == Owner::Rss {
        bail!(Usage(
            "--owner rss leaves a tuple to the interface that it came in by, and several interfaces \
             feed one set of tables: leave it out"
                .to_owned()
        ));
    }
    names.iter().enumerate().map(|(place, name)| plan_one(name, place == 0, args)).collect()
}

fn plan_one(name: &str, is_first: bool, args: &Args) -> anyhow::Result<Plan> {
    let interface = look_at(name, args)?;
    let workers = match args.live.mode {
        Mode::Afxdp => interface.queues as usize,
        Mode::Tap => usize::from(is_first),
    };
    Ok(Plan { interface, workers, cpus: Vec::new() })
}

/// Looks at an interface that is to be opened, for the first time or again, and refuses what must be
/// refused.
///
/// # Errors
/// As for [`plan`].
pub fn look_at(name: &str, args: &Args) -> anyhow::Result<Interface> {
    let interface = Interface::look_up(name)?;
    let intent = Intent::of(args.live.mode, args.live.encap, args.live.consume);
    safety::check(&interface, intent)?;
    check_queues(name, interface.queues)?;
    Ok(interface)
}

/// Chooses every worker's processor, and keeps all other threads off them.
pub fn place(plans: &mut [Vec<Plan>], args: &Args) {
    let chosen = args.live.cpus.as_ref().map(|list| list.0.clone());
    let mut placement = Placement::new(sys::allowed_cpus(), chosen);
    plans.iter_mut().flatten().for_each(|plan| plan.place(&mut placement));
    let housekeeping = placement.housekeeping();
    if !housekeeping.is_empty()
        && let Err(error) = sys::run_all_on(&housekeeping)
    {
        warn!("housekeeping can't be kept on processors {housekeeping:?}: {error}");
    }
}

/// What the program of so many interfaces is told, from the arguments.
pub fn settings(interfaces: usize, args: &Args, detection: &Detection) -> Settings {
    let live = &args.live;
    let ns = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    Settings {
        interfaces: interfaces.min(INTERFACES_MAX) as u8,
        select_all: args.selects_all(),
        pass_other: live.pass_other,
        tap: live.mode == Mode::Tap,
        encap: live.encap,
        syn_window_ns: ns(live.syn_window),
        fin_window_ns: ns(live.fin_window),
        filter_seed: detection.seeds[1],
        filter_slots: live.filter_slots,
    }
}
