//! A CPU control group of equal weight for each role, below the group that the harness is in.
//!
//! The scheduler shares a core between groups first and between processes second: without this, 500 agents beside
//! one sink would leave the sink a five-hundredth. New groups have the default weight, so all are equal. Version 1
//! (cpu, cpuacct and memory each mounted on its own) and version 2 are used, also both at once.

use crate::Error;
use crate::footprint::{self, Footprint, Tree};
use crate::hierarchy::{Hierarchy, Version};
use crate::role::Role;
use rustix::io::Errno;
use rustix::process::Pid;
use std::fs;
use std::path::{Path, PathBuf};

/// The groups that a run will make, found but not made yet, so that the guard can be told first.
#[derive(Clone, Debug)]
pub struct Plan {
    trees: Vec<PlannedTree>,
}

#[derive(Clone, Debug)]
struct PlannedTree {
    version: Version,
    /// Of cpu, cpuacct and memory those that this hierarchy serves for us.
    serves: Vec<&'static str>,
    paths: Tree,
}

impl Plan {
    /// Looks for the hierarchies that serve cpu, processor time and, if there is one, memory. `name` is that of the
    /// group to be made. Errors say in words why control groups can't be used.
    pub fn find(hierarchies: &[Hierarchy], name: &str) -> Result<Plan, String> {
        let mut trees: Vec<PlannedTree> = Vec::new();
        for controller in ["cpu", "cpuacct", "memory"] {
            // processor time is not a controller of its own in version 2: every group has it
            let in_v2 = if controller == "cpuacct" { "cpu" } else { controller };
            let found = hierarchies.iter().find(|hierarchy| match hierarchy.version {
                Version::V1 => hierarchy.has(controller),
                Version::V2 => hierarchy.has(in_v2),
            });
            let Some(found) = found else {
                if controller == "memory" {
                    continue;
                }
                return Err(format!(
                    "no control-group hierarchy with the controller {controller} is mounted here"
                ));
            };
            if let Some(tree) = trees.iter_mut().find(|tree| tree.paths.home == found.own) {
                tree.serves.push(controller);
                continue;
            }
            let base = found.own.join(name);
            let paths = Tree { home: found.own.clone(), base, switched_on: Vec::new() };
            trees.push(PlannedTree { version: found.version, serves: vec![controller], paths });
        }
        for tree in trees.iter_mut().filter(|tree| tree.version == Version::V2) {
            let on = fs::read_to_string(tree.paths.home.join(footprint::SWITCHES)).unwrap_or_default();
            let missing = tree.serves.iter().filter(|name| **name != "cpuacct");
            let missing = missing.filter(|name| !on.split_whitespace().any(|word| word == **name));
            tree.paths.switched_on = missing.map(|name| (*name).to_owned()).collect();
        }
        Ok(Plan { trees })
    }

    pub fn footprint(&self) -> Footprint {
        Footprint { trees: self.trees.iter().map(|tree| tree.paths.clone()).collect() }
    }

    /// Makes the base groups and moves this process into one named `harness`. `guard` is moved too where version 2
    /// would not allow it to stay. On failure nothing is left, and the error says in words why.
    pub fn make(self, guard: Option<Pid>) -> Result<Base, String> {
        let own = rustix::process::getpid();
        let keep: Vec<Pid> = guard.into_iter().chain([own]).collect();
        match self.trees.iter().try_for_each(|tree| tree.make(own, guard)) {
            Ok(()) => Ok(Base { trees: self.trees, keep }),
            Err(reason) => {
                let left = self.footprint().erase(&keep);
                Err([vec![reason], left].concat().join("; "))
            }
        }
    }
}

impl PlannedTree {
    fn make(&self, own: Pid, guard: Option<Pid>) -> Result<(), String> {
        let Tree { home, base, switched_on } = &self.paths;
        let harness = base.join(Role::Harness.as_str());
        for group in [base, &harness] {
            fs::create_dir(group)
                .map_err(|error| format!("can't make the control group {}: {error}", group.display()))?;
        }
        let failed =
            |error: std::io::Error| format!("can't use the control group {}: {error}", base.display());
        if self.version == Version::V2 {
            match footprint::switch(home, '+', &switched_on.join(" ")) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {
                    // no processes in inner groups (cgroups(7)): if only we are in there, we can go
                    let ours = |pid: &Pid| *pid == own || Some(*pid) == guard;
                    if !footprint::processes(home).iter().all(ours) {
                        return Err(format!(
                            "other processes share the control group {}, so it can't be divided (start it as: \
                             systemd-run --user --scope -p Delegate=yes mailrig ...)",
                            home.display()
                        ));
                    }
                    footprint::join(&harness, own).map_err(failed)?;
                    if let Some(guard) = guard {
                        let place = base.join("guard");
                        fs::create_dir(&place)
                            .and_then(|()| footprint::join(&place, guard))
                            .map_err(failed)?;
                    }
                    footprint::switch(home, '+', &switched_on.join(" ")).map_err(failed)?;
                }
                Err(error) => return Err(failed(error)),
            }
            let wanted: Vec<&str> = self.serves.iter().copied().filter(|name| *name != "cpuacct").collect();
            footprint::switch(base, '+', &wanted.join(" ")).map_err(failed)?;
        }
        footprint::join(&harness, own).map_err(failed)
    }
}

/// The run's base groups, with the harness in one of them. [`Base::remove`] takes all away.
#[derive(Debug)]
pub struct Base {
    trees: Vec<PlannedTree>,
    keep: Vec<Pid>,
}

impl Base {
    /// Fresh groups for the processes of one trial; those of an earlier trial, and what is left in them, go first.
    pub fn trial(&self) -> Result<RoleGroups, Error> {
        let groups = RoleGroups { groups: Role::STARTED.map(|role| self.group(role)) };
        groups.remove()?;
        for group in &groups.groups {
            for dir in &group.dirs {
                fs::create_dir(dir).map_err(|error| Error::io("making the control group", dir, error))?;
            }
        }
        Ok(groups)
    }

    /// The harness's own group.
    pub fn harness(&self) -> Group {
        self.group(Role::Harness)
    }

    fn group(&self, role: Role) -> Group {
        let serving = |controller: &str| {
            let tree = self.trees.iter().find(|tree| tree.serves.contains(&controller))?;
            Some((tree.version, tree.paths.base.join(role.as_str())))
        };
        let (version, dir) = serving("cpuacct").expect("a plan has processor time");
        let cpu = match version {
            Version::V1 => CpuTime::Nanoseconds(dir.join("cpuacct.usage")),
            Version::V2 => CpuTime::Statistics(dir.join("cpu.stat")),
        };
        let kernel = serving("memory").map(|(version, dir)| match version {
            Version::V1 => KernelMemory::Bytes {
                all: dir.join("memory.kmem.usage_in_bytes"),
                buffers: dir.join("memory.kmem.tcp.usage_in_bytes"),
            },
            Version::V2 => KernelMemory::Statistics(dir.join("memory.stat")),
        });
        let dirs = self.trees.iter().map(|tree| tree.paths.base.join(role.as_str())).collect();
        Group { dirs, cpu, kernel }
    }

    /// Kills what is left in the groups, moves the harness back and removes all. A line for each that would not go.
    pub fn remove(self) -> Vec<String> {
        let trees = self.trees.into_iter().map(|tree| tree.paths).collect();
        Footprint { trees }.erase(&self.keep)
    }
}

/// The groups of one trial's roles.
#[derive(Debug)]
pub struct RoleGroups {
    groups: [Group; Role::STARTED.len()],
}

impl RoleGroups {
    /// The group of a role that a trial starts; the harness has its own from [`Base::harness`].
    pub fn of(&self, role: Role) -> Option<&Group> {
        Some(&self.groups[Role::STARTED.iter().position(|started| *started == role)?])
    }

    /// Kills what is in them and removes them.
    pub fn remove(&self) -> Result<(), Error> {
        for dir in self.groups.iter().flat_map(|group| &group.dirs) {
            footprint::kill_all_but(dir, &[])
                .and_then(|()| footprint::remove(dir))
                .map_err(|error| Error::io("removing the control group", dir, error))?;
        }
        Ok(())
    }
}

/// One role's group: a directory in each hierarchy.
#[derive(Clone, Debug)]
pub struct Group {
    dirs: Vec<PathBuf>,
    cpu: CpuTime,
    kernel: Option<KernelMemory>,
}

#[derive(Clone, Debug)]
enum CpuTime {
    Nanoseconds(PathBuf),
    Statistics(PathBuf),
}

#[derive(Clone, Debug)]
enum KernelMemory {
    Bytes {
        all: PathBuf,
        /// Of TCP sockets, which are counted apart.
        buffers: PathBuf,
    },
    Statistics(PathBuf),
}

impl Group {
    /// A process has to be put in each of these.
    pub fn directories(&self) -> &[PathBuf] {
        &self.dirs
    }

    /// Moves a process, with all its threads, into the group.
    pub fn join(&self, pid: Pid) -> Result<(), Error> {
        for dir in &self.dirs {
            footprint::join(dir, pid)
                .map_err(|error| Error::io("moving a process to the control group", dir, error))?;
        }
        Ok(())
    }

    pub fn processes(&self) -> Vec<Pid> {
        footprint::processes(&self.dirs[0])
    }

    /// Processor time in seconds of all processes that are or were in the group while they were.
    pub fn cpu_s(&self) -> Option<f64> {
        match &self.cpu {
            CpuTime::Nanoseconds(file) => Some(read_number(file)? as f64 / 1e9),
            CpuTime::Statistics(file) => Some(read_statistic(file, "usage_usec")? as f64 / 1e6),
        }
    }

    /// Memory that the kernel holds for the group's processes now: stacks, page tables, socket and file structures, and
    /// what is in the buffers of sockets.
    pub fn kernel_bytes(&self) -> Option<u64> {
        match self.kernel.as_ref()? {
            KernelMemory::Bytes { all, buffers } => {
                Some(read_number(all)? + read_number(buffers).unwrap_or(0))
            }
            KernelMemory::Statistics(file) => {
                Some(read_statistic(file, "kernel")? + read_statistic(file, "sock").unwrap_or(0))
            }
        }
    }
}

fn read_number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn read_statistic(file: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}
