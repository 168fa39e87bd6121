//! Clocks that several processes agree on, and the processor time of another process.

use rustix::process::Pid;
use std::io;
use std::time::{Duration, Instant};

/// Now on CLOCK_MONOTONIC in nanoseconds: comparable between processes of one machine.
///
/// A system call on purpose. The vDSO would save 50 ns, and costs a process that uses nothing else near it the page
/// tables to reach it: 12 KiB of the kernel's memory for each forked agent.
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec through a valid pointer; with this clock it cannot fail
    unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// As [`Instant::now`], by way of [`monotonic_ns`].
pub fn now() -> Instant {
    // SAFETY: an Instant of this system is whole seconds and nanoseconds of CLOCK_MONOTONIC, and none of both is the time
    // at which that began. Asking for an Instant to count from would be the one look at the vDSO that is to be avoided.
    let origin = unsafe { std::mem::zeroed::<Instant>() };
    origin + Duration::from_nanos(monotonic_ns())
}

/// Processor time (user and system) that the living process `pid` has used, in nanoseconds.
pub fn process_cpu_ns(pid: Pid) -> io::Result<u64> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: writes one clockid_t through a valid pointer
    let error = unsafe { libc::clock_getcpuclockid(pid.as_raw_nonzero().get(), &mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec through a valid pointer
    if unsafe { libc::clock_gettime(clock, &mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_the_clock_tell_the_same() {
        let (before, told, after) = (Instant::now(), now(), Instant::now());
        assert!(before <= told && told <= after, "{before:?} {told:?} {after:?}");
    }
}
