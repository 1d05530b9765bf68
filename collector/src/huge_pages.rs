//! Asks the kernel for huge pages behind the big tables: tuples come in no order, so with small
//! pages nearly every lookup would begin with a walk through the page tables.
#![cfg_attr(
    target_os = "linux",
    expect(unsafe_code, reason = "advice to the kernel, which says why it is sound")
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

/// Has the kernel lay out the memory of IPv4 tuples now. Otherwise it does so at the first use of each
/// page: new tuples go to random places, so the first few hundred would each wait for two megabytes of
/// zeros, and a busy interface's ring be full long before.
pub fn populate(watch: &Watch) {
    let [(tags, slots), _v6] = watch.memory();
    populate_for(tags);
    populate_for(slots);
}

/// Elsewhere nothing is asked for: small pages cost speed and nothing else.
#[cfg(not(target_os = "linux"))]
fn advise_for<T>(_memory: &[T]) {}

#[cfg(not(target_os = "linux"))]
fn populate_for<T>(_memory: &[T]) {}

#[cfg(target_os = "linux")]
/// Asks for huge pages. Memory that was used before stays as it is; a kernel that grants none costs
/// speed and nothing else, so there is no error.
fn advise_for<T>(memory: &[T]) {
    let advised = advise_whole(memory, Advice::LinuxHugepage);
    if let Err(error) = advised {
        tracing::debug!("no huge pages behind {} bytes of table: {error}", size_of_val(memory));
    }
}

#[cfg(target_os = "linux")]
/// Before Linux 5.14 nothing is laid out ahead.
fn populate_for<T>(memory: &[T]) {
    let advised = advise_whole(memory, Advice::LinuxPopulateWrite);
    if let Err(error) = advised {
        tracing::debug!("{} bytes of table are not laid out: {error}", size_of_val(memory));
    }
}

#[cfg(target_os = "linux")]
/// Gives this advice wherever `memory` covers whole huge pages.
fn advise_whole<T>(memory: &[T], advice: Advice) -> rustix::io::Result<()> {
    let start = memory.as_ptr();
    let skipped = start.align_offset(HUGE).saturating_mul(size_of::<T>());
    let whole = size_of_val(memory).saturating_sub(skipped) / HUGE * HUGE;
    if whole == 0 {
        return Ok(());
    }
    let begin = start.wrapping_byte_add(skipped).cast_mut().cast();
    // SAFETY: the range lies within `memory`, and neither advice changes its contents or how it may be
    // accessed.
    unsafe { madvise(begin, whole, advice) }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use xdpwatch_core::watch::Config;

    fn resident_bytes() -> usize {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        4096 * statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap()
    }

    #[test]
    fn the_table_of_ipv4_tuples_lies_there_before_it_is_used() {
        let watch = Watch::new(Config { max_tuples: 4 << 20, ..Config::default() });
        advise(&watch);
        let before = resident_bytes();
        populate(&watch);
        let laid_out = resident_bytes().saturating_sub(before);
        // 64 bytes a tuple and some, and none of IPv6.
        assert!((250 << 20..400 << 20).contains(&laid_out), "{laid_out} bytes");
    }
}
