//! The pure detector of xdpwatch: records in, findings out.
//!
//! It reads no clock (time comes in with each record), does no I/O, has no `unsafe`, and neither
//! panics nor allocates on a packet. In reading order: [`watch`] is the door, [`finding`] what comes
//! out, [`aggregate`] what spans tuples.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod aggregate;
pub mod finding;
pub mod watch;
