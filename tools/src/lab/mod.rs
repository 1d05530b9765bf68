//! The lab: real kernels in network namespaces, real HAProxy, a balancer, a mirror port. It plays the
//! field cases that xdpwatch is for, with real sockets, and says what the kernels did.
//!
//! A scenario is either a [collision] of two connections, or a [case]: a whole system that runs
//! badly, and well once the advised setting is applied.

pub mod balancer;
pub mod case;
pub mod collision;
pub mod haproxy;
pub mod hosts;
pub mod http;
pub mod load;
pub mod network;
pub mod recorder;
mod sys;

pub use collision::{Lab, scenario};
