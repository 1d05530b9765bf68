//! The `xdpwatch` command.
fn main() {}
