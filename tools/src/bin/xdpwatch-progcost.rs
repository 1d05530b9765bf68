//! Prints what the XDP program costs per frame above an empty program, in nanoseconds.

use anyhow::{Result, ensure};
use xdpwatch_prog::head::Head;
use xdpwatch_prog::record::{Record, flags};
use xdpwatch_tools::cases::{syn, syn6};
use xdpwatch_tools::frames::ethernet;
use xdpwatch_tools::kernel::{Kernel, Settings, helper_costs_ns, unavailable};

/// Averages taken, each over a million runs.
const ROUNDS: usize = 21;

fn main() -> Result<()> {
    ensure!(unavailable().is_none(), "{}", unavailable().unwrap_or_default());
    let settings = Settings { slots: 1 << 20, ..Settings::default() };
    let ack = |record: Record| Record { flags: flags::ACK, ..record };
    let tagged = |record: Record| Record { vlan_count: 2, vlans: [7, 8], ..record };
    let dropped = [
        ("IPv4 data, dropped", syn()),
        ("IPv6 data, dropped", syn6()),
        ("QinQ IPv4 data, dropped", tagged(syn())),
    ];
    println!("ns per frame above an empty program, least and median of {ROUNDS} x 1 M");
    // Their tuples' transitions are over, as those of established connections are.
    let over = Settings { syn_window_ns: 1, ..settings.clone() };
    for (name, record) in dropped {
        let mut kernel = Kernel::load(&over)?;
        kernel.run(&ethernet(&Record { flags: flags::SYN, ..record }))?;
        print(kernel.cost_ns(&ethernet(&ack(record)), 0, 0, ROUNDS)?, name);
    }
    let parse = Settings { select_all: true, socket: false, ..settings.clone() };
    let frame = ethernet(&syn());
    print(Kernel::load(&parse)?.cost_ns(&frame, 0, 0, ROUNDS)?, "IPv4 SYN, parsed, no socket");
    for (name, record) in
        [("IPv4 SYN", syn()), ("IPv6 SYN", syn6()), ("QinQ IPv4 SYN", tagged(syn()))]
    {
        for payload in [0, 40] {
            let headers = ethernet(&Record { payload_len: 0, ..record });
            let frame = [vec![0; Head::SIZE], headers].concat();
            let mut kernel = Kernel::load(&settings)?;
            let costs = kernel.cost_ns(&frame, Head::SIZE as u32, payload, ROUNDS)?;
            print(costs, &format!("{name}, {payload} bytes cut, head, redirected"));
        }
    }
    println!("of that, the kernel's helpers alone");
    let frame = [vec![0; Head::SIZE], ethernet(&syn())].concat();
    for (name, costs) in helper_costs_ns(&frame, Head::SIZE as u32, 40, ROUNDS)? {
        print(costs, name);
    }
    Ok(())
}

fn print(costs: Vec<f64>, name: &str) {
    println!("{:6.1} {:6.1}  {name}", costs[0], costs[costs.len() / 2]);
}
