//! Clocks that several processes agree on, and the processor time of another process.

use rustix::process::Pid;
use std::io;

/// Now on CLOCK_MONOTONIC in nanoseconds: comparable between processes of one machine.
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
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
