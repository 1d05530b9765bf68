//! Helpers that tests, benches and the lab share; nothing in the product uses them.

pub mod frames;
pub mod judge;
pub mod script;
