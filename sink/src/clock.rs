//! The two clocks that the sink reports: CLOCK_MONOTONIC, which all processes of a trial share, and its own CPU.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// CLOCK_MONOTONIC in nanoseconds.
pub fn now_ns() -> u64 {
    ns(clock_gettime(ClockId::Monotonic))
}

/// CPU that this process has used so far, user and system, in seconds.
pub fn cpu_s() -> f64 {
    ns(clock_gettime(ClockId::ProcessCPUTime)) as f64 / NS_PER_S as f64
}

fn ns(time: Timespec) -> u64 {
    // Neither clock is ever negative.
    time.tv_sec as u64 * NS_PER_S + time.tv_nsec as u64
}

const NS_PER_S: u64 = 1_000_000_000;
