//! Giving up root for good.

use std::ffi::CString;
use std::io;

/// A user of this machine, looked up once, before any descriptor is shared.
#[derive(Clone, Debug)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Looks a user up by name (passwd database).
pub fn find_user(name: &str) -> io::Result<User> {
    let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("no user `{name}` on this machine"));
    let name_c = CString::new(name).map_err(|_| unknown())?;
    // SAFETY: getpwnam reads a NUL-terminated name; the process has one thread, so its static result is ours to read
    let entry = unsafe { libc::getpwnam(name_c.as_ptr()) };
    if entry.is_null() {
        return Err(unknown());
    }
    // SAFETY: not null, so it points to a passwd entry that stays until the next call
    let (uid, gid) = unsafe { ((*entry).pw_uid, (*entry).pw_gid) };
    Ok(User { name: name.to_owned(), uid, gid })
}

/// Becomes `user` for good: no supplementary groups, then group, then user; checks that there is no way back.
pub fn become_user(user: &User) -> io::Result<()> {
    // SAFETY: plain numbers; glibc applies each to all threads of the process
    let failed = unsafe {
        libc::setgroups(0, std::ptr::null()) != 0
            || libc::setgid(user.gid) != 0
            || libc::setuid(user.uid) != 0
    };
    if failed {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: takes a number only
    if user.uid != 0 && unsafe { libc::setuid(0) } == 0 {
        return Err(io::Error::other("could become root again after giving it up"));
    }
    Ok(())
}
