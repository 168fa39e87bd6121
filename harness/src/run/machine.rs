//! The machine as the manifest describes it. What can't be read is absent, never guessed.

use measure::Machine;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use subject::machine;

/// Settings of the kernel that bound a trial.
const SETTINGS: &[&str] = &[
    "net/core/somaxconn",
    "net/ipv4/ip_local_port_range",
    "net/ipv4/tcp_max_syn_backlog",
    "net/ipv4/tcp_tw_reuse",
    "kernel/pid_max",
    "kernel/sched_autogroup_enabled",
    "fs/file-max",
    "vm/overcommit_memory",
];

/// `spool` is where the trials have their spools, `cores` how many this process may use.
pub fn describe(cores: usize, descriptors_max: u64, spool: &Path) -> Machine {
    let processes = rustix::process::getrlimit(rustix::process::Resource::Nproc);
    Machine {
        cpu_model: machine::cpu_model(),
        cores: u32::try_from(cores).unwrap_or(u32::MAX),
        memory_bytes: machine::memory_bytes(),
        kernel: machine::kernel(),
        descriptors_max,
        processes_max: processes.current,
        kernel_settings: settings(),
        spool_file_system: file_system(spool),
    }
}

fn settings() -> BTreeMap<String, String> {
    let read = |name: &&str| {
        let text = fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?;
        Some(((*name).to_owned(), text.split_whitespace().collect::<Vec<_>>().join(" ")))
    };
    SETTINGS.iter().filter_map(read).collect()
}

/// Type and device of the mount that holds `path`: the one with the longest mount point above it.
fn file_system(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (device, point, kind) = (fields.next()?, fields.next()?, fields.next()?);
        path.starts_with(point).then(|| (point.len(), format!("{kind} on {device}")))
    });
    // of several mounts on one point the last covers the others
    mounts.max_by_key(|(length, _)| *length).map(|(_, words)| words)
}
