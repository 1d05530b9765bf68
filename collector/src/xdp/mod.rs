//! The XDP program in the kernel: on which interface, whether that is safe, loading, attaching.

pub mod interface;
pub mod link;
pub mod numa;
pub mod program;
pub mod safety;
