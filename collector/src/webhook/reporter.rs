//! The reporter with hooks: another one is told everything, and the hooks the groups.

use std::io;

use xdpwatch_core::group::Change;

use super::Webhooks;
use crate::args::Args;
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
    fn inner(&mut self) -> Option<&mut dyn Reporter> {
        Some(&mut *self.inner)
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
        mut stats: Stats,
        occasion: Occasion,
    ) -> io::Result<()> {
        stats.webhooks = self.webhooks.stats();
        self.inner.statistics(context, stats, occasion)
    }

    fn show(&mut self, context: &Context, mut stats: Stats, trouble: Option<String>) {
        stats.webhooks = self.webhooks.stats();
        self.inner.show(context, stats, trouble);
    }

    fn retune(&mut self, args: &Args) {
        let exchanged =
            args.webhooks.configs().and_then(|configs| self.webhooks.exchange(&configs));
        if let Err(error) = exchanged {
            complain(&format!("reload: webhooks stay as they were: {error:#}"));
        }
        self.inner.retune(args);
    }
}
