//! Helpers that tests, benches and the lab share; nothing in the product uses them.

pub mod cases;
pub mod frames;
pub mod judge;
pub mod kernel;
pub mod lab;
pub mod livegen;
pub mod mix;
pub mod pcap;
pub mod script;
pub mod selection;
pub mod tunnels;
