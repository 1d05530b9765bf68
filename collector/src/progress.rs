//! A progress bar on standard error for long files, if that is a terminal.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressStyle};

/// Files shorter than this are read before anyone would look at a bar.
const LONG_FILE_BYTES: u64 = 64 << 20;

/// A bar, or nothing.
pub struct Bar(Option<ProgressBar>);

impl Bar {
    /// A bar for a file of `size` bytes, if its size is known and long.
    pub fn new(size: Option<u64>) -> Self {
        let long = size.filter(|size| *size >= LONG_FILE_BYTES && io::stderr().is_terminal());
        Self(long.map(|size| {
            let bar = ProgressBar::new(size);
            let template = "{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        }))
    }

    /// So many bytes are read.
    pub fn set(&self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.set_position(bytes);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
