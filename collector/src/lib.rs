//! xdpwatch as a library: capture, workers and reports around the pure detector.
//!
//! In the order in which a packet meets them: [`capture`] brings packets, [`worker`] runs a share of
//! the detector, [`merge`] puts the workers' outputs in order, [`report`] tells them. [`replay`] ties
//! that together for files; [`run`] decides what is done, from [`args`], which [`config`] completes.

pub mod args;
pub mod command;
pub mod config;
mod detection;
pub mod group_args;
mod log;
mod plain;
pub mod prefix_args;
pub mod run;
mod usage;
pub mod value_args;

pub mod capture;
pub mod huge_pages;
pub mod worker;

pub mod evidence;
pub mod merge;
pub mod pcapng;

pub mod alerts;
pub mod sink;

#[cfg(feature = "xdp")]
mod concurrent;
#[cfg(feature = "xdp")]
pub mod doctor;
#[cfg(feature = "xdp")]
pub mod handoff;
#[cfg(feature = "xdp")]
pub mod live;
#[cfg(feature = "xdp")]
pub mod service;
#[cfg(feature = "xdp")]
pub mod state_file;
#[cfg(feature = "xdp")]
pub mod xdp;

pub mod explain;
pub mod generate;
pub mod health;
pub mod interruption;
pub mod lang;
pub mod report;
pub mod stats;
#[cfg(feature = "webhook")]
pub mod webhook;

#[cfg(feature = "api")]
pub mod api;
#[cfg(feature = "api")]
pub mod state;

pub mod compare;
pub mod replay;

mod progress;
mod skips;
pub mod stop;
