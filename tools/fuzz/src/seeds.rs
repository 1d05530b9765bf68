//! Writes the table of named frames as inputs to begin with, beside this file's folder.

use std::path::Path;
use std::{fs, io};

fn main() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/parser");
    fs::create_dir_all(&folder)?;
    for case in xdpwatch_tools::cases::all() {
        let file = folder.join(case.name.replace(' ', "_"));
        fs::write(file, [&[0], &case.frame[..]].concat())?;
    }
    Ok(())
}
