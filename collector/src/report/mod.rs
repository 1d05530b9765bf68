//! Where findings and statistics leave the program: the seam, and one file per format.

pub mod advice;
mod community_id;
mod comparison;
mod en;
pub mod group;
mod interruption;
pub mod json;
mod summary;
pub mod text;
pub mod time;
pub mod values;
mod zh;

/// A sentence in a language: the function of this name in `en` or in `zh`. A language that lacks one
/// does not compile.
macro_rules! say {
    ($lang:expr, $file:ident::$sentence:ident($($arg:expr),*)) => {
        match $lang {
            $crate::lang::Lang::En => $crate::report::en::$file::$sentence($($arg),*),
            $crate::lang::Lang::Zh => $crate::report::zh::$file::$sentence($($arg),*),
        }
    };
}
use say;

use std::io::{self, Write};

use xdpwatch_core::finding::Finding;
use xdpwatch_core::group::Change;

use crate::args::Args;
use crate::compare::Comparison;
use crate::interruption::Interruption;
use crate::lang::Lang;
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

impl Context {
    /// The interface's or the file's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.origin {
            Origin::Interface(name) | Origin::File(name) => name,
        }
    }
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

/// Takes what is to be told, in order: every finding, and what becomes of their groups. Each reporter
/// tells the one or the other. One that stands in front of another has that as [`Reporter::inner`], and
/// only what it adds besides: the rest is passed on.
pub trait Reporter {
    /// The reporter behind this one, if there is any.
    fn inner(&mut self) -> Option<&mut dyn Reporter> {
        None
    }

    /// Reports a finding of the group with this id. `utc_offset_ns` is to be added to every time in it.
    ///
    /// # Errors
    /// Those of writing.
    fn finding(
        &mut self,
        context: &Context,
        finding: &Finding,
        group_id: u64,
        utc_offset_ns: i64,
    ) -> io::Result<()> {
        self.inner()
            .map_or(Ok(()), |inner| inner.finding(context, finding, group_id, utc_offset_ns))
    }

    /// Reports a group. `utc_offset_ns` is to be added to every time in it.
    ///
    /// # Errors
    /// Those of writing.
    fn group(
        &mut self,
        context: &Context,
        change: &Change<'_>,
        utc_offset_ns: i64,
    ) -> io::Result<()> {
        self.inner().map_or(Ok(()), |inner| inner.group(context, change, utc_offset_ns))
    }

    /// Waits until no kill of this process can lose what was told of groups so far; not for ever.
    fn secure(&mut self) {
        if let Some(inner) = self.inner() {
            inner.secure();
        }
    }

    /// Reports statistics.
    ///
    /// # Errors
    /// Those of writing.
    fn statistics(
        &mut self,
        context: &Context,
        stats: Stats,
        occasion: Occasion,
    ) -> io::Result<()> {
        self.inner().map_or(Ok(()), |inner| inner.statistics(context, stats, occasion))
    }

    /// Shows statistics to those who may ask at any time, and what keeps the vantage point from being
    /// ready, if anything does. Nothing is written.
    fn show(&mut self, context: &Context, stats: Stats, trouble: Option<String>) {
        if let Some(inner) = self.inner() {
            inner.show(context, stats, trouble);
        }
    }

    /// Reports that the capture was interrupted, or goes on. `utc_offset_ns` is to be added to its time.
    ///
    /// # Errors
    /// Those of writing.
    fn interruption(
        &mut self,
        context: &Context,
        interruption: &Interruption,
        utc_offset_ns: i64,
    ) -> io::Result<()> {
        let inner = self.inner();
        inner.map_or(Ok(()), |inner| inner.interruption(context, interruption, utc_offset_ns))
    }

    /// Takes what a reload changes of it.
    fn retune(&mut self, args: &Args) {
        if let Some(inner) = self.inner() {
            inner.retune(args);
        }
    }

    /// Reports what two captures say together; the context is the first one's.
    ///
    /// # Errors
    /// Those of writing.
    fn comparison(&mut self, context: &Context, comparison: &Comparison) -> io::Result<()> {
        self.inner().map_or(Ok(()), |inner| inner.comparison(context, comparison))
    }
}

impl Occasion {
    /// The word for it in events.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Interval => "interval",
            Self::Asked => "asked",
            Self::End => "end",
        }
    }
}

/// Text for people in their language, or with `json` one JSON object per line.
pub fn reporter<'a>(json: bool, lang: Lang, out: impl Write + 'a) -> Box<dyn Reporter + 'a> {
    if json { Box::new(json::Json::new(out)) } else { Box::new(text::Text::new(out, lang)) }
}
