//! Where packets come from.

pub mod file;
mod input;
mod timescale;
