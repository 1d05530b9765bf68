//! What the hand-off between workers is built from. `tests/handoff_model.rs` compiles the same code with
//! loom's parts in their place, and tries every order in which threads can meet.

pub use std::sync::Arc;
pub use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

pub use crossbeam::queue::ArrayQueue;
pub use crossbeam::utils::CachePadded;
