//! The contract between xdpwatch's XDP program and its user space: what a frame becomes, what is
//! selected, how it travels, what is counted, and the names of the maps.
//!
//! `no_std`, no allocation: everything here is compiled for the host and for the BPF machine alike.
#![cfg_attr(not(test), no_std)]

pub mod counters;
pub mod head;
pub mod maps;
pub mod plain;
pub mod record;
pub mod select;
pub mod wire;
