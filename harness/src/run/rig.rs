//! What all trials of one command share: the guard, the control groups, the cores, and the wish to stop.

use crate::guard::{ENTER, GUARD};
use measure::{Grouping, Placement};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use subject::child::Launcher;
use subject::cores::{self, Cores};
use subject::groups::{Base, Plan};
use subject::guard::Guard;
use subject::interrupt::Interrupt;
use subject::{hierarchy, process};

/// sun_path of unix(7) holds 108 bytes with its NUL.
const SOCKET_PATH_MAX: usize = 107;
/// Looks for processes that outlived their trial, 10 ms apart.
const KILL_ROUNDS: u32 = 500;

pub struct Rig {
    pub launcher: Launcher,
    pub interrupt: Interrupt,
    pub groups: Option<Base>,
    /// Which kind of control groups there are, or why there are none.
    pub grouping_words: String,
    /// Cores that this process may use.
    pub allowed: Vec<usize>,
    guard: Guard,
}

/// Directories of one trial, gone when it ends.
pub struct Scratch {
    /// Spool, configuration, logs, ledger, trace.
    pub dir: PathBuf,
    /// For the control socket, whose path must be short.
    pub sockets: PathBuf,
}

impl Rig {
    /// Starts the guard and makes the groups, with the harness in one of them.
    ///
    /// # Errors
    /// Neither guard nor cores can be had; without control groups it goes on.
    pub fn start(interrupt: Interrupt) -> Result<Rig, String> {
        let exe = std::env::current_exe().map_err(|error| format!("finding the own executable: {error}"))?;
        let allowed = Cores::allowed().map_err(|error| format!("asking for the allowed cores: {error}"))?;
        let mark = format!("{}-{}", std::process::id(), subject::sampling::monotonic_ns());
        let mut guard = Guard::start(&exe, GUARD, &mark).map_err(|error| error.to_string())?;
        let (groups, grouping_words) = match make_groups(&mut guard) {
            Ok(groups) => (Some(groups), "a CPU control group of equal weight for each role".to_owned()),
            Err(reason) => {
                (None, format!("a session for each role, as there are no control groups: {reason}"))
            }
        };
        Ok(Rig {
            launcher: Launcher { exe, enter: ENTER, mark },
            interrupt,
            groups,
            grouping_words,
            allowed,
            guard,
        })
    }

    pub fn grouping(&self) -> Grouping {
        if self.groups.is_some() { Grouping::Cgroup } else { Grouping::Session }
    }

    /// The cores of a placement, with what could be done of it, and binds this thread to the harness's share.
    pub fn place(&self, wished: profile::Placement) -> Result<(Cores, Placement), String> {
        let (cores, placement) = match (wished, Cores::pinned(&self.allowed)) {
            (profile::Placement::Pinned, Some(cores)) => (cores, Placement::Pinned),
            _ => (Cores::shared(&self.allowed), Placement::Shared),
        };
        cores::bind(&cores.others)
            .map_err(|error| format!("binding to the cores {:?}: {error}", cores.others))?;
        Ok((cores, placement))
    }

    /// Fresh directories for a trial: a large one below `parent`, on the disk that the results go to, and a small
    /// one for sockets below the system's directory for temporary files.
    pub fn scratch(&mut self, parent: &Path, order: u32) -> Result<Scratch, String> {
        let name = format!("mailrig-{}-{order}", std::process::id());
        let parent =
            std::path::absolute(parent).map_err(|error| format!("finding {}: {error}", parent.display()))?;
        let dir = parent.join(format!(".{name}"));
        let mut sockets = std::env::temp_dir().join(&name);
        if sockets.as_os_str().len() + "/control".len() > SOCKET_PATH_MAX {
            sockets = Path::new("/tmp").join(&name);
        }
        for path in [&dir, &sockets] {
            self.guard.directory(path).map_err(|error| error.to_string())?;
            let made = DirBuilder::new().mode(0o700).create(path);
            made.map_err(|error| format!("making the directory {}: {error}", path.display()))?;
        }
        Ok(Scratch { dir, sockets })
    }

    /// Kills what has outlived the trial and removes its directories. A line for each thing that should not have
    /// been there or would not go.
    pub fn tidy(&mut self, scratch: &Scratch) -> Vec<String> {
        let mut problems = Vec::new();
        let outlived = process::marked(&self.launcher.mark).len();
        if outlived > 0 {
            problems.push(format!("{outlived} processes outlived the trial and were killed"));
            if !process::kill_marked(&self.launcher.mark, KILL_ROUNDS) {
                problems.push("processes of the trial do not end although killed".to_owned());
            }
        }
        for path in [&scratch.dir, &scratch.sockets] {
            let removed = std::fs::remove_dir_all(path).map_err(|error| error.to_string());
            let removed = removed.and_then(|()| self.guard.gone(path).map_err(|error| error.to_string()));
            problems.extend(removed.err().map(|error| format!("removing {}: {error}", path.display())));
        }
        problems
    }

    /// Takes groups and guard away. A line for each thing that would not go.
    pub fn finish(self) -> Vec<String> {
        let problems = self.groups.map(Base::remove).unwrap_or_default();
        self.guard.goodbye();
        problems
    }
}

fn make_groups(guard: &mut Guard) -> Result<Base, String> {
    let mounted = hierarchy::mounted().map_err(|error| format!("looking for control groups: {error}"))?;
    let plan = Plan::find(&mounted, &format!("mailrig-{}", std::process::id()))?;
    guard.groups(plan.footprint()).map_err(|error| error.to_string())?;
    plan.make(Some(guard.pid()))
}
