//! What keeping tuples over a restart costs: the time of writing the state file and of reading it again,
//! by the clock on the wall, since a service manager waits by that one; and the memory of both.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use xdpwatch::huge_pages;
use xdpwatch::state_file::scale::Scale;
use xdpwatch::state_file::{Head, Saver, load};

use crate::memory::{BEGIN_NS, filled, resident_bytes};
use crate::trace::detector;

/// Between the last packet and the file.
const LATER_NS: u64 = 60_000_000_000;

/// Prints what `tuples` IPv4 tuples take, by way of a file at `path`. The file stays: its times are moved
/// to now, so that a sensor that is started within its horizon takes the tuples over.
///
/// # Errors
/// Those of the file.
pub fn of_tuples(tuples: usize, path: &Path) -> anyhow::Result<()> {
    let watch = filled(tuples);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let written_ns = BEGIN_NS + LATER_NS;
    let drift_ns = now.as_nanos() as i64 - written_ns as i64;
    // Of no boot: whoever reads it moves its times.
    let scale = Scale { boot: String::new(), offset_ns: 0, drift_ns };
    let head = Head { scale, written_ns, vlan_key: false };

    let (began, before) = (Instant::now(), resident_bytes());
    let saver = Saver::begin(path, &head);
    saver.add(&watch);
    let written = saver.finish()?;
    let (writing, more) = (began.elapsed(), resident_bytes().saturating_sub(before));
    let bytes = path.metadata()?.len();
    drop(watch);
    println!(
        "\n| the state file of {written} tuples, {} MB | s | more memory |",
        bytes / 1_000_000
    );
    println!("|---|---|---|");
    row("written and synced", writing, more);

    let before = resident_bytes();
    let mut watch = detector(tuples + tuples / 32);
    huge_pages::advise(&watch);
    let began = Instant::now();
    let loaded = load(path, false, Duration::MAX, |_| Duration::ZERO);
    let loaded = loaded.map_err(|refused| anyhow::anyhow!("{refused}"))?.context("no file")?;
    row("read and checked", began.elapsed(), 0);
    let mut taken = 0usize;
    loaded.each(0, |saved| taken += usize::from(watch.restore(saved, written_ns)))?;
    let more = resident_bytes().saturating_sub(before);
    row(&format!("and {taken} put into a new table"), began.elapsed(), more);
    Ok(())
}

fn row(what: &str, time: Duration, bytes: usize) {
    println!("| {what} | {:.2} | {} MB |", time.as_secs_f64(), bytes / 1_000_000);
}
