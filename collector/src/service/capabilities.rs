//! The five capabilities that capturing needs, and the loss of all others. Everything here concerns
//! the calling thread and those that it starts later.

use std::io;

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::user::Person;

/// What is kept, and for what: attaching and queue options; sockets of the interface; programs and
/// maps; the program's frame length, a difference of pointers, which the verifier refuses otherwise
/// ("R9 pointer -= pointer prohibited"); memory of the rings. An interface that comes back is attached
/// to once more, so all stay.
const KEPT: [(CapabilitySet, &str); 5] = [
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
    (CapabilitySet::NET_RAW, "CAP_NET_RAW"),
    (CapabilitySet::BPF, "CAP_BPF"),
    (CapabilitySet::PERFMON, "CAP_PERFMON"),
    (CapabilitySet::IPC_LOCK, "CAP_IPC_LOCK"),
];

/// Becomes `person`, if it is to be another, and keeps nothing but [`KEPT`]; root that stays root
/// keeps all. Returns the names of what is left, nothing for all.
///
/// # Errors
/// The kernel's.
pub fn reduce(person: Option<&Person>) -> io::Result<Vec<&'static str>> {
    set_no_new_privs(true)?;
    let is_root = rustix::process::geteuid().is_root();
    if is_root && person.is_none() {
        return Ok(Vec::new());
    }
    empty_the_bounding_set()?;
    if let Some(person) = person {
        set_thread_groups(&[person.gid])?;
        set_thread_res_gid(person.gid, person.gid, person.gid)?;
        // Without this the change of user takes the permitted set too.
        set_keep_capabilities(true)?;
        set_thread_res_uid(person.uid, person.uid, person.uid)?;
        set_keep_capabilities(false)?;
    }
    let permitted = capabilities(None)?.permitted;
    let is_kept = |(capability, _): &&(CapabilitySet, _)| permitted.contains(*capability);
    let kept: CapabilitySet =
        KEPT.iter().filter(is_kept).map(|(capability, _)| *capability).collect();
    let inheritable = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable })?;
    clear_ambient_capability_set()?;
    Ok(KEPT.iter().filter(is_kept).map(|(_, name)| *name).collect())
}

/// What no program started from here could ever get back. Without CAP_SETPCAP it can't be changed,
/// and whoever started this has seen to it.
fn empty_the_bounding_set() -> io::Result<()> {
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match remove_capability_from_bounding_set(capability) {
            // Beyond the last that this kernel knows.
            Err(Errno::INVAL) => break,
            Err(Errno::PERM) => break,
            result => result?,
        }
    }
    Ok(())
}
