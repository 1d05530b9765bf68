//! Where findings and statistics leave the program: one line of text each.

use std::io::{self, Write};

use xdpwatch_core::finding::{Endpoint, Finding};

use crate::stats::Stats;

/// Where the packets of a run came from; each has its own tables, findings and summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A network interface, by name.
    Interface(String),
    /// A capture file, by the name it was given.
    File(String),
}

/// What a reporter needs to know besides the finding.
#[derive(Clone, Debug)]
pub struct Context {
    /// Name of this sensor: `--sensor` or the host's name.
    pub sensor: String,
    /// Where the packets came from.
    pub origin: Origin,
}

/// Why statistics are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// The interval is over.
    Interval,
    /// Somebody asked (SIGUSR1).
    Asked,
    /// The end of the run.
    End,
}

/// Takes what is to be told, in order.
pub trait Reporter {
    /// Reports a finding. `utc_offset_ns` is to be added to every time in it.
    ///
    /// # Errors
    /// Those of writing.
    fn finding(
        &mut self,
        context: &Context,
        finding: &Finding,
        utc_offset_ns: i64,
    ) -> io::Result<()>;

    /// Reports statistics.
    ///
    /// # Errors
    /// Those of writing.
    fn statistics(
        &mut self,
        context: &Context,
        stats: &Stats,
        occasion: Occasion,
    ) -> io::Result<()>;
}

/// One line for each finding and each statistic.
#[derive(Debug)]
pub struct Lines<W> {
    out: W,
}

impl<W: Write> Lines<W> {
    /// Lines to `out`.
    pub fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Write> Reporter for Lines<W> {
    fn finding(
        &mut self,
        context: &Context,
        finding: &Finding,
        utc_offset_ns: i64,
    ) -> io::Result<()> {
        let at_ns = finding.at_ns.saturating_add_signed(utc_offset_ns);
        write!(
            self.out,
            "{}.{:06} {:?} {} {:?} severity {} cause {} {} -> {} flow {:016x} id {:016x}",
            at_ns / 1_000_000_000,
            at_ns / 1000 % 1_000_000,
            context.origin,
            finding.rule.name,
            finding.state,
            finding.severity,
            finding.cause,
            endpoint(&finding.src),
            endpoint(&finding.dst),
            finding.flow_id,
            finding.id,
        )?;
        for (label, fact) in &finding.facts {
            write!(self.out, " {label}={fact:?}")?;
        }
        writeln!(self.out)?;
        self.out.flush()
    }

    fn statistics(
        &mut self,
        context: &Context,
        stats: &Stats,
        occasion: Occasion,
    ) -> io::Result<()> {
        writeln!(self.out, "statistics of {:?} ({occasion:?})", context.origin)?;
        let mut result = Ok(());
        stats.each(&mut |group, name, value| {
            if result.is_ok() && value > 0 {
                result = writeln!(self.out, "  {group} {name} {value}");
            }
        });
        result?;
        self.out.flush()
    }
}

fn endpoint(end: &Endpoint) -> String {
    let addr = std::net::Ipv6Addr::from(end.addr).to_canonical();
    std::net::SocketAddr::new(addr, end.port).to_string()
}
