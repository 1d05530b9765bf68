//! Processor time of the calling thread: what others do on the machine meanwhile is not counted.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of processor time that this thread has used.
pub fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Nanoseconds of processor time that `work` uses.
pub fn timed(work: impl FnOnce()) -> f64 {
    let began = thread_ns();
    work();
    (thread_ns() - began) as f64
}

/// The middle value and the least.
pub fn median_and_least(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0])
}
