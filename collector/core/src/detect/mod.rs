//! The rules. Each is one file; its line in [`RULES`] is all that the rest needs to know of it.
//!
//! A rule turns what happened to a contest into findings. It sees no table and no clock.

pub mod tuple_reuse;

use crate::finding::Rule;

/// Every rule, in order of its number.
pub const RULES: &[&Rule] = &[&tuple_reuse::RULE];
