//! Runs the figures of README.
fn main() {}
