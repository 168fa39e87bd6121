//! The control groups of a run as paths only, and how they are taken away again.
//!
//! One place for both who may have to do it: the harness at its end, and the guard when the harness has died.

use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Looks at a group, 10 ms apart, before it is reported as stuck: a killed process may need a moment to end.
const ROUNDS: u32 = 500;
const BETWEEN_ROUNDS: Duration = Duration::from_millis(10);

/// Every tree of groups that a run has or is about to have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footprint {
    pub trees: Vec<Tree>,
}

/// The run's part of one hierarchy: `base` is ours, with one level of groups in it; `home` was there before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    pub home: PathBuf,
    pub base: PathBuf,
    /// Version 2: controllers that the run switches on in `home`, to be switched off again.
    pub switched_on: Vec<String>,
}

impl Footprint {
    /// Moves the processes of `keep` back home, kills all others in the groups and removes the groups.
    /// Gives a line for each tree that would not go.
    pub fn erase(&self, keep: &[Pid]) -> Vec<String> {
        self.trees
            .iter()
            .filter_map(|tree| {
                let problem = tree.erase(keep).err()?;
                Some(format!("control group {} is left behind: {problem}", tree.base.display()))
            })
            .collect()
    }
}

impl Tree {
    fn erase(&self, keep: &[Pid]) -> std::io::Result<()> {
        let groups = children(&self.base);
        for group in &groups {
            kill_all_but(group, keep)?;
        }
        let (kept, empty): (Vec<_>, Vec<_>) =
            groups.into_iter().partition(|group| !processes(group).is_empty());
        for group in &empty {
            remove(group)?;
        }
        // version 2: a group with controllers switched on for its children can't hold processes, so off they go;
        // where they never went on this fails, and where it must not fail the next step says so
        let _ = switch(&self.base, '-', &fs::read_to_string(self.base.join(SWITCHES)).unwrap_or_default());
        let _ = switch(&self.home, '-', &self.switched_on.join(" "));
        for group in &kept {
            for pid in processes(group) {
                join(&self.home, pid)?;
            }
            remove(group)?;
        }
        kill_all_but(&self.base, &[])?;
        remove(&self.base)
    }
}

pub(crate) const SWITCHES: &str = "cgroup.subtree_control";

/// Switches controllers (names with blanks between) on or off for the children of a version 2 group.
pub(crate) fn switch(group: &Path, sign: char, controllers: &str) -> std::io::Result<()> {
    let words: Vec<String> = controllers.split_whitespace().map(|name| format!("{sign}{name}")).collect();
    if words.is_empty() { Ok(()) } else { fs::write(group.join(SWITCHES), words.join(" ")) }
}

/// Moves a process with all its threads into a group.
pub(crate) fn join(group: &Path, pid: Pid) -> std::io::Result<()> {
    fs::write(group.join("cgroup.procs"), pid.as_raw_nonzero().to_string())
}

/// The processes in a group; none when it does not exist.
pub(crate) fn processes(group: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).filter_map(Pid::from_raw).collect()
}

/// Kills until only `keep` is left.
pub(crate) fn kill_all_but(group: &Path, keep: &[Pid]) -> std::io::Result<()> {
    for _ in 0..ROUNDS {
        let mut others = processes(group);
        others.retain(|pid| !keep.contains(pid));
        if others.is_empty() {
            return Ok(());
        }
        for pid in others {
            // an error means that it has just ended
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(BETWEEN_ROUNDS);
    }
    Err(std::io::Error::other("processes in it do not end although killed"))
}

/// Removes an empty group. A group stays busy for a moment after its last process has gone.
pub(crate) fn remove(group: &Path) -> std::io::Result<()> {
    for _ in 0..ROUNDS {
        match rustix::fs::rmdir(group) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY) => std::thread::sleep(BETWEEN_ROUNDS),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::BUSY.into())
}

fn children(group: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(group) else { return Vec::new() };
    let directories =
        entries.filter_map(Result::ok).filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path()).collect()
}
