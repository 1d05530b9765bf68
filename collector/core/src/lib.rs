//! The pure detector of xdpwatch: records in, findings out.
//!
//! It reads no clock (time comes in with each record), does no I/O, has no `unsafe`, and neither
//! panics nor allocates on a packet. In reading order: [`watch`] is the door; [`flow`],
//! [`entry`] and `advance` are one connection, [`flows`] and [`table`] where connections lie; [`contest`] is a new
//! SYN against a holder and [`host`] what holders do; [`detect`] makes [`finding`]s of it;
//! [`aggregate`] knows what spans tuples; [`group`] makes few alerts of many findings.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod watch;

mod advance;
pub mod contest;
mod contested;
pub mod counters;
pub mod entry;
pub mod flow;
pub mod flows;
mod follow;
pub mod holding;
pub mod holes;
pub mod host;
pub mod lanes;
pub mod lifetime;
pub mod lines;
pub mod occupancy;
pub mod output;
pub mod packed_step;
pub mod relation;
pub mod repetition;
pub mod saved;
pub mod seq;
mod speaker;
pub mod step;
pub mod table;
pub mod timed;
pub mod tuple;

pub mod detect;
pub mod finding;
pub mod grounds;
pub mod subject;

pub mod aggregate;
pub mod census;
pub mod clocks;
pub mod collisions;
mod generations;
pub mod group;
pub mod histogram;
pub mod hosts;
pub mod legs;
pub mod ports;
pub mod prefix;
pub mod services;
pub mod shares;
pub mod sight;
pub mod wheel;
