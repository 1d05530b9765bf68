//! Asks the kernel for huge pages behind the big tables: tuples come in no order, so with small
//! pages nearly every lookup would begin with a walk through the page tables.
#![cfg_attr(
    target_os = "linux",
    expect(unsafe_code, reason = "one advice to the kernel, which says why it is sound")
)]

#[cfg(target_os = "linux")]
use rustix::mm::{Advice, madvise};
use xdpwatch_core::watch::Watch;

#[cfg(target_os = "linux")]
/// Bytes of a huge page on the machines that have them.
const HUGE: usize = 2 << 20;

/// Asks for huge pages behind a detector's tables.
pub fn advise(watch: &Watch) {
    for (tags, slots) in watch.memory() {
        advise_for(tags);
        advise_for(slots);
    }
}

/// Elsewhere nothing is asked for: small pages cost speed and nothing else.
#[cfg(not(target_os = "linux"))]
fn advise_for<T>(_memory: &[T]) {}

#[cfg(target_os = "linux")]
/// Asks for huge pages wherever `memory` covers whole ones. Memory that was used before stays as it
/// is; a kernel that grants none costs speed and nothing else, so there is no error.
fn advise_for<T>(memory: &[T]) {
    let start = memory.as_ptr();
    let skipped = start.align_offset(HUGE).saturating_mul(size_of::<T>());
    let whole = size_of_val(memory).saturating_sub(skipped) / HUGE * HUGE;
    if whole == 0 {
        return;
    }
    let begin = start.wrapping_byte_add(skipped).cast_mut().cast();
    // SAFETY: the range lies within `memory`, and this advice changes neither its contents nor how
    // it may be accessed.
    let advised = unsafe { madvise(begin, whole, Advice::LinuxHugepage) };
    if let Err(error) = advised {
        tracing::debug!("no huge pages behind {whole} bytes of table: {error}");
    }
}
