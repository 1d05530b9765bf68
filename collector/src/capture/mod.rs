//! Where packets come from: capture files, and live queues.

pub mod file;
mod file_error;
mod file_header;
mod input;
mod records;
mod timescale;

#[cfg(feature = "xdp")]
pub mod afxdp;
#[cfg(feature = "xdp")]
pub mod clock;
#[cfg(feature = "xdp")]
pub mod source;
#[cfg(feature = "xdp")]
pub mod sys;
#[cfg(feature = "xdp")]
pub mod tap;
