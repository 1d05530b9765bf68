//! Sends live frames into one side of a veth pair and prints how many.

use anyhow::Result;
use clap::Parser;
use xdpwatch_tools::livegen::{Plan, Sent, generate};

/// Sends millions of TCP segments a second into one side of a veth pair (root; an XDP program must be
/// attached to the other side).
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Interface to send into.
    #[arg(short, long)]
    iface: String,
    /// CPUs to send from, a thread each; CPU n fills the peer's receive queue n.
    #[arg(long, value_delimiter = ',', default_value = "0")]
    cpus: Vec<usize>,
    /// Frames of each thread.
    #[arg(long, default_value_t = 10_000_000)]
    frames: u32,
    /// Of a thousand frames, how many are SYNs.
    #[arg(long, default_value_t = 10)]
    syn_per_mille: u32,
    /// Different tuples of each thread.
    #[arg(long, default_value_t = 1_000_000)]
    tuples: u32,
    /// Payload of every frame, bytes.
    #[arg(long, default_value_t = 6)]
    payload: u32,
    /// Nanoseconds between two frames of a thread, whose processor waits in between [default: as fast as
    /// it can].
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    interval_ns: u32,
}

fn main() -> Result<()> {
    let Arguments { iface, cpus, frames, syn_per_mille, tuples, payload, interval_ns } =
        Arguments::parse();
    let plan = Plan { iface, cpus, frames, syn_per_mille, tuples, payload, interval_ns };
    let Sent { frames: sent, time } = generate(&plan)?;
    let (total, seconds) = (sent.iter().sum::<u64>(), time.as_secs_f64());
    println!("sent {total} frames in {seconds:.2} s: {:.2} Mpps", total as f64 / seconds / 1e6);
    for (thread, frames) in sent.iter().enumerate() {
        println!("  thread {thread}: {frames}");
    }
    Ok(())
}
