//! Signals as readable events.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

pub use libc::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

fn set_of(signals: &[i32]) -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set; sigaddset changes an initialised one
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        set.assume_init()
    }
}

/// Blocks `signals` and gives a non-blocking descriptor that is readable when one of them is pending.
pub fn signal_descriptor(signals: &[i32]) -> io::Result<OwnedFd> {
    let set = set_of(signals);
    // SAFETY: a valid set; the old mask is not asked for
    if unsafe { libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a valid set and flags
    let descriptor = unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if descriptor == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, owned by nobody else
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The next pending signal of a descriptor made by [`signal_descriptor`]; `None` when there is none.
pub fn next_signal(descriptor: &OwnedFd) -> io::Result<Option<i32>> {
    let mut record = [0u8; size_of::<libc::signalfd_siginfo>()];
    match rustix::io::read(descriptor, &mut record) {
        // ssi_signo is the first field, a u32
        Ok(_) => Ok(Some(i32::from_ne_bytes([record[0], record[1], record[2], record[3]]))),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Unblocks every signal and gives those that a parent took over their default action back: for forked children.
pub fn restore_defaults() {
    let set = set_of(&[]);
    // SAFETY: a valid set; restoring default actions has no memory effect
    unsafe {
        libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut());
        for signal in [SIGCHLD, SIGHUP, SIGINT, SIGTERM] {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}
