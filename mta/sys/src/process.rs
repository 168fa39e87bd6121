//! Fork, reap, leave.

use rustix::process::Pid;
use std::io;

/// Which side of a fork this is.
pub enum Fork {
    Parent(Pid),
    Child,
}

/// Forks. Refused when this process has more than one thread, since the child would hold their locks for ever.
pub fn fork() -> io::Result<Fork> {
    let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count).unwrap_or(1);
    if threads > 1 {
        return Err(io::Error::other(format!("refusing to fork a process with {threads} threads")));
    }
    fork_single_threaded()
}

/// As [`fork`], without looking how many threads there are: for a starter that checked once and makes none.
pub fn fork_single_threaded() -> io::Result<Fork> {
    // SAFETY: one thread only (the callers' contract), so every lock and the allocator are in a sane state in the child
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(Pid::from_raw(pid).expect("fork gives a positive pid"))),
    }
}

/// How a child ended and what it used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    pub pid: Pid,
    pub end: End,
    /// User and system time of the child and of those it had waited for.
    pub cpu_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Status(i32),
    Signal(i32),
}

/// Reaps one ended child, if there is one; never waits.
pub fn reap() -> io::Result<Option<Exit>> {
    reap_from(-1)
}

/// Reaps this child if it has ended, and no other; never waits.
pub fn reap_child(pid: Pid) -> io::Result<Option<Exit>> {
    reap_from(pid.as_raw_nonzero().get())
}

fn reap_from(children: libc::pid_t) -> io::Result<Option<Exit>> {
    let mut status = 0;
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: writes an int and a rusage through valid pointers
    let pid = unsafe { libc::wait4(children, &mut status, libc::WNOHANG, usage.as_mut_ptr()) };
    if pid == -1 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::ECHILD) { Ok(None) } else { Err(error) };
    }
    let Some(pid) = Pid::from_raw(pid) else { return Ok(None) };
    // SAFETY: zeroed, then filled by wait4; every bit pattern is a valid rusage
    let usage = unsafe { usage.assume_init() };
    let end = if libc::WIFSIGNALED(status) {
        End::Signal(libc::WTERMSIG(status))
    } else {
        End::Status(libc::WEXITSTATUS(status))
    };
    let ns = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1000;
    Ok(Some(Exit { pid, end, cpu_ns: ns(usage.ru_utime) + ns(usage.ru_stime) }))
}

/// Leaves at once, without destructors or exit handlers: for forked children, whose inherited values are not theirs.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: always allowed
    unsafe { libc::_exit(status) }
}
