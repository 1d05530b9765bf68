//! The reporter with hooks: another one is told everything, and the hooks the groups.

use std::io;

use xdpwatch_core::finding::Finding;
use xdpwatch_core::group::Change;

use super::Webhooks;
use crate::args::Args;
use crate::compare::Comparison;
use crate::interruption::Interruption;
use crate::log::complain;
use crate::report::{Context, Occasion, Reporter};
use crate::stats::Stats;

/// Tells another reporter everything, and the hooks the groups.
pub struct WithWebhooks<'a> {
    /// The other reporter.
    pub inner: Box<dyn Reporter + 'a>,
    /// The hooks.
    pub webhooks: Webhooks,
}

impl Reporter for WithWebhooks<'_> {
    fn finding(
        &mut self,
        context: &Context,
        finding: &Finding,
        group_id: u64,
        utc_offset_ns: i64,
    ) -> io::Result<()> {
        self.inner.finding(context, finding, group_id, utc_offset_ns)
    }

    fn group(
        &mut self,
        context: &Context,
        change: &Change<'_>,
        utc_offset_ns: i64,
    ) -> io::Result<()> {
        self.webhooks.group(context, change, utc_offset_ns);
        self.inner.group(context, change, utc_offset_ns)
    }

    fn secure(&mut self) {
        self.webhooks.secure();
    }

    fn statistics(
        &mut self,
        context: &Context,
        stats: &Stats,
        occasion: Occasion,
    ) -> io::Result<()> {
        self.inner.statistics(context, &self.with_own(stats), occasion)
    }

    fn show(&mut self, context: &Context, stats: &Stats, trouble: Option<String>) {
        self.inner.show(context, &self.with_own(stats), trouble);
    }

    fn interruption(
        &mut self,
        context: &Context,
        interruption: &Interruption,
        utc_offset_ns: i64,
    ) -> io::Result<()> {
        self.inner.interruption(context, interruption, utc_offset_ns)
    }

    fn retune(&mut self, args: &Args) {
        let exchanged =
            args.webhooks.configs().and_then(|configs| self.webhooks.exchange(&configs));
        if let Err(error) = exchanged {
            complain(&format!("reload: webhooks stay as they were: {error:#}"));
        }
        self.inner.retune(args);
    }

    fn comparison(&mut self, context: &Context, comparison: &Comparison) -> io::Result<()> {
        self.inner.comparison(context, comparison)
    }
}

impl WithWebhooks<'_> {
    fn with_own(&self, stats: &Stats) -> Stats {
        Stats { webhooks: self.webhooks.stats(), ..stats.clone() }
    }
}
