//! `xdpwatch webhook test`: sends one alert of each state, marked as a test, past the spool, and says
//! what came back.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use xdpwatch_core::detect::tuple_reuse::RULE;
use xdpwatch_core::finding::{About, Confidence, Endpoint, Fact, Facts, Finding, State};
use xdpwatch_core::group::{Config, Groups};

use super::config::Hook;
use super::delivery::{Client, Outcome};
use super::message::Message;
use super::options::Options;
use crate::log::complain;
use crate::plain::plain_word;
use crate::report::{Context, Origin};
use crate::run::is_broken_pipe;
use crate::usage::{self, Usage};

/// What `xdpwatch webhook` does.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Action {
    /// Send one test alert of each state (firing, resolved) and say what came back. Exit status: 0
    /// all were taken, 1 not all, 2 wrong usage
    Test(Options),
}

/// Does it.
#[must_use]
pub fn run(action: &Action) -> ExitCode {
    let Action::Test(options) = action;
    match test(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{error:#}"));
            if usage::is_usage(&error) { ExitCode::from(usage::STATUS) } else { ExitCode::FAILURE }
        }
    }
}

/// Whether every message was taken.
fn test(options: &Options) -> anyhow::Result<bool> {
    let configs = options.configs().map_err(usage::wrong)?;
    let cure = "which one? give --webhook URL, or a [[webhook]] table in the configuration file";
    anyhow::ensure!(!configs.is_empty(), Usage(cure.to_owned()));
    let hooks = configs.iter().map(|config| Hook::new(config).map_err(usage::wrong));
    let hooks = hooks.collect::<anyhow::Result<Vec<_>>>()?;
    let mut all_taken = true;
    for hook in &hooks {
        let client = Client::new(hook)?;
        for message in messages() {
            let began = Instant::now();
            let (taken, said) = match client.send(hook, &message) {
                Outcome::Delivered { answer } => (true, format!("taken, {answer}")),
                Outcome::Failed { reason, wait: None } => (false, format!("failed, {reason}")),
                Outcome::Failed { reason, wait: Some(wait) } => {
                    (false, format!("failed, {reason}; it asks to wait {} s", wait.as_secs()))
                }
                Outcome::Refused { reason } => (false, format!("refused, {reason}")),
            };
            let took_ms = began.elapsed().as_millis();
            let line = format!("{}: {} {said} ({took_ms} ms)", hook.name, message.state());
            writeln!(io::stdout(), "{}", plain_word(&line)).context("standard output")?;
            all_taken &= taken;
        }
    }
    Ok(all_taken)
}

/// One alert of the documentation's addresses, firing and resolved, through the real grouping.
fn messages() -> Vec<Message> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    let sensor = hostname::get().unwrap_or_else(|_| "localhost".into());
    let context = Context {
        sensor: sensor.to_string_lossy().into_owned(),
        origin: Origin::Interface("webhook-test".to_owned()),
    };
    let mut messages = Vec::new();
    let mut groups = Groups::new(Config::default(), [0; 4]);
    let mut take = |change: xdpwatch_core::group::Change<'_>| {
        messages.push(Message::of(&context, &change, 0));
    };
    groups.handle(&finding(State::Firing, now_ns), &mut take);
    groups.handle(&finding(State::Resolved, now_ns), &mut take);
    groups.finish(now_ns, &mut take);
    for message in &mut messages {
        let summary = format!("TEST, nothing happened: {}", message.text(&["alert", "summary"]));
        message.event["alert"]["summary"] = summary.into();
    }
    messages
}

fn finding(state: State, at_ns: u64) -> Finding {
    // 192.0.2.10 and 198.51.100.20 (RFC 5737).
    let end = |addr: [u8; 4], port| Endpoint {
        addr: std::net::Ipv4Addr::from(addr).to_ipv6_mapped().octets(),
        port,
    };
    let mut finding = Finding {
        rule: &RULE,
        state,
        id: at_ns >> 1,
        at_ns,
        began_ns: at_ns,
        about: About::Connection,
        src: end([192, 0, 2, 10], 57011),
        dst: end([198, 51, 100, 20], 8080),
        vni: 0,
        vlans: Default::default(),
        flow_id: at_ns >> 1,
        cause: "paws",
        severity: 2,
        confidence: Confidence { percent: 100, reasons: Default::default() },
        facts: Facts::new(),
        grounds: None,
        evidence: None,
    };
    let outcome = if state == State::Firing { "pending" } else { "recovered" };
    finding.set("holder.state", Fact::Word("time_wait"));
    finding.set("answer", Fact::Word("challenge_ack"));
    finding.set("outcome", Fact::Word(outcome));
    finding.set("stall_ms", Fact::Number(1000));
    finding
}
