//! The first step of every child: its session, its control groups and its cores, and only then the program.
//!
//! Doing it in the child before exec means that its memory is charged to the right group from the first page on,
//! and that the harness stays the parent: a child that asks to be told of its parent's death is told of ours.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// Where a child belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Directories of the control group, one for each hierarchy; none where there are no groups.
    pub groups: Vec<PathBuf>,
    /// Numbers of the cores it may use; empty = all.
    pub cores: Vec<usize>,
}

/// Takes the place with a session of its own and becomes `program`. Returns only if that did not work; the text
/// says what did not.
pub fn enter(place: &Place, program: &OsString, args: &[OsString]) -> String {
    if let Err(error) = rustix::process::setsid() {
        return format!("starting a session: {error}");
    }
    for group in &place.groups {
        // 0 = whoever writes, cgroups(7)
        if let Err(error) = std::fs::write(group.join("cgroup.procs"), "0") {
            return format!("joining the control group {}: {error}", group.display());
        }
    }
    if !place.cores.is_empty()
        && let Err(error) = crate::cores::bind(&place.cores)
    {
        return format!("binding to the cores {:?}: {error}", place.cores);
    }
    let error = Command::new(program).args(args).exec();
    format!("executing {}: {error}", program.display())
}
