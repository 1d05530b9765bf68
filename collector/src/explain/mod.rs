//! `xdpwatch explain`: what a rule or a cause means, how it is decided, what it is not alarmed by, and
//! what to do. The pages are files beside this one; what to do comes from the advice that findings
//! carry, so that both never differ.

mod pages;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use xdpwatch_core::finding::Rule;

use crate::lang::{Choice, Lang, said, wrap};
use crate::log::complain;
use crate::report::advice;
pub use pages::{PAGES, Page};

/// Nothing is known by that name.
const STATUS_USAGE: u8 = 2;

/// The options of `explain`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Name of a rule or of a cause, as alerts print it [default: list all]
    pub name: Option<String>,
    #[command(flatten)]
    lang: Choice,
}

/// Prints the page, or the list.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    let lang = options.lang.lang;
    let text = match &options.name {
        None => list(lang),
        Some(name) => match named(name) {
            pages if pages.is_empty() => {
                complain(&unknown(name));
                return ExitCode::from(STATUS_USAGE);
            }
            pages => pages.iter().map(|page| text(page, lang)).collect::<Vec<_>>().join("\n"),
        },
    };
    // Whoever read it has gone: no fault, and nothing more to say.
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(&format!("standard output: {error}"));
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// The pages of this name: a page's own, or those of the rules that print it as their cause.
#[must_use]
pub fn named(name: &str) -> Vec<&'static Page> {
    let name = name.to_lowercase().replace('-', "_");
    let own = PAGES.iter().find(|page| page.name == name);
    own.map_or_else(
        || PAGES.iter().filter(|page| page.causes.contains(&name.as_str())).collect(),
        |page| vec![page],
    )
}

/// A rule in one line.
#[must_use]
pub fn title(rule: &Rule, lang: Lang) -> &'static str {
    let page = PAGES.iter().find(|page| page.name == rule.name);
    page.map_or(rule.summary, |page| page.title(lang))
}

/// A page as it is printed.
#[must_use]
pub fn text(page: &Page, lang: Lang) -> String {
    let mut text = String::new();
    for line in page.text.to(lang).lines() {
        let _ = writeln!(text, "{}", wrap(line, ""));
    }
    let advice = advice::on(page.name);
    let _ = writeln!(text, "\n## {}", said("What to do", "处理办法").to(lang));
    if advice.is_empty() {
        let each = said("See the page of the finding's cause.", "见该告警原因（cause）的页面。");
        let _ = writeln!(text, "{}", each.to(lang));
    }
    for advice in advice {
        let _ = writeln!(text, "{}", advice.item(lang));
    }
    text
}

/// Every page in one line each.
fn list(lang: Lang) -> String {
    PAGES.iter().fold(String::new(), |mut text, page| {
        let _ = writeln!(text, "{:<24}{}", page.name, page.title(lang));
        text
    })
}

fn unknown(name: &str) -> String {
    let names = PAGES.iter().flat_map(|page| page.causes.iter().copied().chain([page.name]));
    let distance = |known: &&str| strsim::damerau_levenshtein(known, &name.to_lowercase());
    let near = names.min_by_key(distance).filter(|known| distance(known) <= known.len() / 2);
    let near = near.map_or_else(String::new, |near| format!("; the nearest is {near}"));
    format!("no rule and no cause is called {name}{near}; `xdpwatch explain` lists all")
}
