//! How a thread shares its core with others: sched(7), sched_setattr(2).

use std::io;

/// Makes this thread, and children yet to be forked, give way less eagerly: one that wakes up waits until whoever runs
/// has used up its slice or sleeps (SCHED_BATCH). Nothing is lost while a core is idle.
pub fn as_batch() -> io::Result<()> {
    set(libc::SCHED_BATCH, 0)
}

/// Makes this thread, which hardly ever runs, run soon after it wakes up: it asks for slices of 0.1 ms, the shortest
/// that there are (Linux 6.12; before that, without effect).
pub fn promptly() -> io::Result<()> {
    set(libc::SCHED_OTHER, 100_000)
}

fn set(policy: libc::c_int, slice_ns: u64) -> io::Result<()> {
    // SAFETY: a plain structure of numbers, for which zero is valid
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    attributes.size = size_of::<libc::sched_attr>() as u32;
    attributes.sched_policy = policy as u32;
    attributes.sched_runtime = slice_ns;
    // SAFETY: reads as many bytes as the structure says that it has, through a valid pointer
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
