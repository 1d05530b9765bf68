//! What the kernel says, as plain data: gathered here, judged elsewhere.

use crate::xdp::interface::Interface;

/// Everything that is judged.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The interface itself, and who uses it.
    pub interface: Interface,
}

impl Facts {
    /// Asks the kernel about the interface `name` and the host.
    ///
    /// # Errors
    /// There is no such interface.
    pub fn gather(name: &str) -> anyhow::Result<Self> {
        Ok(Self { interface: Interface::look_up(name)? })
    }
}
