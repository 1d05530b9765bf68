//! Rules and knowledge that span tuples: both legs of a balancer, how long a host holds TIME_WAIT.
//!
//! Fed with every worker's outputs, merged in order of time; there is one of it.

use crate::finding::Finding;
use crate::watch::{Kind, Output};

/// The one aggregator behind all workers.
#[derive(Debug, Default)]
pub struct Aggregate {}

impl Aggregate {
    /// Takes the next output in order of time and emits what is to be reported.
    pub fn handle(&mut self, output: Output, emit: &mut impl FnMut(Finding)) {
        match output.kind {
            Kind::Finding(finding) => emit(finding),
        }
    }
}
