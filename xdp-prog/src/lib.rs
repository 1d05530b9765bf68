//! The contract between xdpwatch's XDP program and its user space: the record a frame becomes.
//!
//! `no_std`, no allocation: everything here is compiled for the host and for the BPF machine alike.
#![cfg_attr(not(test), no_std)]

pub mod record;
