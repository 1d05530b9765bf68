//! `xdpwatch-lab`: plays the field cases between real kernels and says what they did.

use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use xdpwatch_tools::lab::Lab;
use xdpwatch_tools::lab::case::{CASES, Case, Pace};
use xdpwatch_tools::lab::network::{MIRROR, Network, SENSOR};
use xdpwatch_tools::lab::recorder::Recorder;
use xdpwatch_tools::lab::scenario::{Played, SCENARIOS, Scenario, Timing};
use xdpwatch_tools::pcap;

/// A lab of network namespaces: clients, a balancer or HAProxy, a server, and a mirror port.
/// Everything is removed at the end. Needs root.
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
    Play(Play),
}

#[derive(clap::Args)]
struct Play {
    /// Their names, or `all`
    #[arg(required = true)]
    scenarios: Vec<String>,
    /// Use the published notes' own timing: a minute or two each
    #[arg(long)]
    long: bool,
    /// Write what the mirror port was sent to this file (pcap); more scenarios, more files
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// Run this first, on the mirror port: {} stands for the interface. Ends with the lab
    #[arg(long, value_name = "COMMAND")]
    watch: Option<String>,
}

/// What can be played.
enum Entry {
    Collision(&'static str, Scenario),
    Case(&'static Case),
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
            for (name, scenario) in SCENARIOS {
                println!("{name:<19} {}", scenario.about());
            }
            CASES.iter().for_each(|case| println!("{:<19} {}", case.name, case.about));
            Ok(())
        }
        Command::Check => Lab::start(&prefix()).map(|_| println!("the lab can be built here")),
        Command::Play(play) => {
            let (mut collisions, mut cases) = (Vec::new(), Vec::new());
            for entry in named(&play.scenarios)? {
                match entry {
                    Entry::Collision(name, scenario) => collisions.push((name, scenario)),
                    Entry::Case(case) => cases.push(case),
                }
            }
            if !collisions.is_empty() {
                play.collisions(&collisions)?;
            }
            cases.into_iter().try_for_each(|case| play.case(case))
        }
    }
}

/// Begins the names of this process's namespaces.
fn prefix() -> String {
    format!("xwlab{}", std::process::id())
}

fn named(names: &[String]) -> anyhow::Result<Vec<Entry>> {
    let all = || {
        let collisions = SCENARIOS.iter().map(|(name, known)| Entry::Collision(name, *known));
        collisions.chain(CASES.iter().map(Entry::Case))
    };
    if names.iter().any(|name| name == "all") {
        return Ok(all().collect());
    }
    let is = |entry: &Entry, name: &str| match entry {
        Entry::Collision(known, _) => *known == name,
        Entry::Case(case) => case.name == name,
    };
    names
        .iter()
        .map(|name| {
            let found = all().find(|entry| is(entry, name));
            found.with_context(|| format!("no scenario {name}; see xdpwatch-lab list"))
        })
        .collect()
}

impl Play {
    fn collisions(&self, scenarios: &[(&'static str, Scenario)]) -> anyhow::Result<()> {
        let lab = Lab::start(&prefix())?;
        let timing = if self.long { Timing::NOTE } else { Timing::SHORT };
        self.watched(&lab.network, "collisions", || {
            for (name, scenario) in scenarios {
                print(name, &lab.play(*scenario, timing)?);
            }
            Ok(())
        })
    }

    fn case(&self, case: &Case) -> anyhow::Result<()> {
        let network = Network::build(&prefix(), case.topology)?;
        let pace = if self.long { Pace::Note } else { Pace::Short };
        self.watched(&network, case.name, || {
            println!("lab: {}: {}", case.name, case.about);
            let played = (case.play)(&network, pace)?;
            played.did.iter().for_each(|sentence| println!("  {sentence}"));
            Ok(())
        })
    }

    /// Plays with a sensor and a recorder on the mirror port, where they are asked for.
    fn watched(
        &self,
        network: &Network,
        name: &str,
        play: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let recorder = self.pcap.as_ref().map(|_| Recorder::start(network)).transpose()?;
        let watch = self.watch.as_deref();
        let sensor = watch.map(|command| start_sensor(network, command)).transpose()?;
        let played = play();
        if let Some(mut sensor) = sensor {
            std::thread::sleep(Duration::from_secs(1));
            interrupt(&sensor)?;
            sensor.wait()?;
        }
        if let (Some(path), Some(recorder)) = (&self.pcap, recorder) {
            let path = if self.is_one() { path.clone() } else { beside(path, name) };
            let frames = recorder.stop();
            pcap::write(&path, frames.iter().map(|(at_ns, frame)| (*at_ns, frame.as_slice())))
                .with_context(|| format!("writing {}", path.display()))?;
        }
        played
    }

    fn is_one(&self) -> bool {
        self.scenarios.len() == 1 && self.scenarios[0] != "all"
    }
}

/// `dir/file.pcap` becomes `dir/file-name.pcap`.
fn beside(path: &Path, name: &str) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-{name}.pcap"))
}

/// Starts the sensor in its namespace and waits until its program is attached.
fn start_sensor(network: &Network, command: &str) -> anyhow::Result<Child> {
    let namespace = network.namespace(SENSOR);
    let words = command.replace("{}", MIRROR);
    let mut parts = words.split_whitespace();
    let program = parts.next().context("--watch needs a command")?;
    let child = network
        .command(SENSOR, program)
        .args(parts)
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

fn interrupt(child: &Child) -> anyhow::Result<()> {
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
