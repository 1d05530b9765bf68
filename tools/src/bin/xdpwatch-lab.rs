//! `xdpwatch-lab`: plays collisions between real kernels and says what they did.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use xdpwatch_tools::lab::Lab;
use xdpwatch_tools::lab::network::MIRROR;
use xdpwatch_tools::lab::scenario::{Played, SCENARIOS, Scenario, Timing};
use xdpwatch_tools::pcap;

/// A lab of network namespaces: two clients, a balancer that keeps source ports, a server that
/// closes first, and a mirror port. Everything is removed at the end. Needs root.
#[derive(Parser)]
#[command(name = "xdpwatch-lab", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lists the scenarios
    List,
    /// Builds the lab and takes it down: whether it can be had here
    Check,
    /// Plays scenarios, one after the other
    Play {
        /// Their names, or `all`
        #[arg(required = true)]
        scenarios: Vec<String>,
        /// Use the published note's own timing: about two minutes each
        #[arg(long)]
        long: bool,
        /// Write what the balancer saw on all its ports to this file (pcap)
        #[arg(long, value_name = "FILE")]
        pcap: Option<PathBuf>,
        /// Run this first, on the mirror port: {} stands for the interface. Ends with the lab
        #[arg(long, value_name = "COMMAND")]
        watch: Option<String>,
    },
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xdpwatch-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    match &args.command {
        Command::List => {
            SCENARIOS.iter().for_each(|(name, _)| println!("{name}"));
            Ok(())
        }
        Command::Check => Lab::start(&prefix()).map(|_| println!("the lab can be built here")),
        Command::Play { scenarios, long, pcap, watch } => {
            let scenarios = named(scenarios)?;
            let timing = if *long { Timing::NOTE } else { Timing::SHORT };
            play(&scenarios, timing, pcap.as_deref(), watch.as_deref())
        }
    }
}

/// Begins the names of this process's namespaces.
fn prefix() -> String {
    format!("xwlab{}", std::process::id())
}

fn named(names: &[String]) -> anyhow::Result<Vec<(&'static str, Scenario)>> {
    if names.iter().any(|name| name == "all") {
        return Ok(SCENARIOS.to_vec());
    }
    let find = |name: &String| SCENARIOS.iter().find(|(known, _)| known == name).copied();
    names
        .iter()
        .map(|name| {
            find(name).with_context(|| format!("no scenario {name}; see xdpwatch-lab list"))
        })
        .collect()
}

fn play(
    scenarios: &[(&'static str, Scenario)],
    timing: Timing,
    pcap_file: Option<&std::path::Path>,
    watch: Option<&str>,
) -> anyhow::Result<()> {
    let lab = Lab::start(&prefix())?;
    let sensor = watch.map(|command| start_sensor(&lab, command)).transpose()?;
    for (name, scenario) in scenarios {
        let played = lab.play(*scenario, timing)?;
        print(name, &played);
    }
    if let Some(mut sensor) = sensor {
        std::thread::sleep(Duration::from_secs(1));
        interrupt(&sensor)?;
        sensor.wait()?;
    }
    if let Some(path) = pcap_file {
        let frames = lab.frames();
        pcap::write(path, frames.iter().map(|seen| (seen.at_ns, seen.frame.as_slice())))
            .with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// Starts the sensor in its namespace and waits until its program is attached.
fn start_sensor(lab: &Lab, command: &str) -> anyhow::Result<std::process::Child> {
    let namespace = lab.network.namespace("sensor");
    let words = command.replace("{}", MIRROR);
    let child = std::process::Command::new("ip")
        .args(["netns", "exec", &namespace])
        .args(words.split_whitespace())
        .spawn()
        .with_context(|| format!("starting {words}"))?;
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(100));
        let link = std::process::Command::new("ip")
            .args(["-n", &namespace, "link", "show", MIRROR])
            .output()?;
        if String::from_utf8_lossy(&link.stdout).contains("xdp") {
            return Ok(child);
        }
    }
    bail!("the sensor did not attach to {MIRROR} within 10 s")
}

fn interrupt(child: &std::process::Child) -> anyhow::Result<()> {
    let status =
        std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status()?;
    anyhow::ensure!(status.success(), "the sensor had ended before");
    Ok(())
}

fn print(name: &str, played: &Played) {
    let connected = if played.connected { "connected" } else { "NOT connected" };
    println!("lab: {name}: port {}: {connected} after {:?}", played.port, played.took);
    println!(
        "  new ISN {:+} against the expected one, new TSval {} against the last one",
        played.isn_delta,
        played.ts_delta.map_or("absent".to_owned(), |delta| format!("{delta:+}"))
    );
    println!(
        "  {} SYN, {} answered with the old ACK, SYN/ACK {}",
        played.syns,
        played.challenge_acks,
        match played.syn_ack_ahead {
            Some(65_537) => "out of TIME_WAIT (old SND.NXT + 65537)",
            Some(_) => "with a fresh ISN",
            None => "none",
        }
    );
    let counters: Vec<String> = played
        .counters
        .iter()
        .filter(|(name, _)| {
            ["PAWS", "TW", "TimeWait", "Challenge", "Skipped"]
                .iter()
                .any(|part| name.contains(part))
        })
        .map(|(name, by)| format!("{name} +{by}"))
        .collect();
    println!(
        "  server: {} in TIME_WAIT at the SYN; {}",
        played.time_waits,
        if counters.is_empty() { "no such counter moved".to_owned() } else { counters.join(", ") }
    );
}
