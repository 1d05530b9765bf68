//! What the options say to the detector.

use xdpwatch_core::detect::Limits;
use xdpwatch_core::host::Hosts;
use xdpwatch_core::legs::Given;

use crate::args::Args;
use crate::worker::Detection;

impl Detection {
    /// The detector's choices as the arguments give them.
    #[must_use]
    pub fn of(args: &Args, seeds: [u64; 4]) -> Self {
        Self {
            max_tuples: args.max_tuples,
            horizon_ns: u64::try_from(args.horizon.as_nanos()).unwrap_or(u64::MAX),
            vlan_key: args.vlan_key,
            all_reuse: args.all_reuse,
            carries_data: carries_data(args),
            hosts: Hosts { configured: args.host_model.clone() },
            limits: limits(args),
            group: args.group.config(),
            seeds,
            batch: usize::from(args.batch),
        }
    }
}

/// A file is taken to hold what was sent; what is missing for its filter's sake is guarded against in
/// `holes`. Live capture leaves data out unless told to take all.
fn carries_data(args: &Args) -> bool {
    #[cfg(feature = "xdp")]
    let takes_all = args.selects_all();
    #[cfg(not(feature = "xdp"))]
    let takes_all = false;
    !args.read.is_empty() || takes_all
}

/// The rules' thresholds as the arguments give them.
fn limits(args: &Args) -> Limits {
    let us = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    Limits {
        half_closed_us: us(args.half_closed_limit),
        port_ranges: args.port_range.clone(),
        balancers: Given {
            vips: args.vip.clone(),
            source_nat: args.snat.clone(),
            servers: args.server.clone(),
        },
        ..Limits::default()
    }
}
