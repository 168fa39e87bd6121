//! What /proc tells about one process: memory, processor time, and what it was started for.

use rustix::process::Pid;
use std::path::PathBuf;

/// Environment variable that marks every process of a run: it stays through fork and exec, in whatever session or
/// group the process puts itself, so what a run has left behind is found by it and nothing else is.
pub const MARK: &str = "MAILRIG_RUN_MARK";

/// Memory of one process from /proc/PID/smaps_rollup, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Proportional set size: a page shared by n processes counts as an n-th of it.
    pub pss_bytes: u64,
    /// Unique set size: what would be freed if the process ended.
    pub uss_bytes: u64,
}

/// `None` when the process is gone or not ours to look at.
pub fn memory(pid: Pid) -> Option<Memory> {
    parse_rollup(&std::fs::read_to_string(file(pid, "smaps_rollup")).ok()?)
}

fn parse_rollup(text: &str) -> Option<Memory> {
    let mut memory = Memory::default();
    let mut seen = false;
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        let bytes = || Some(value.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024);
        match name {
            "Pss" => {
                memory.pss_bytes = bytes()?;
                seen = true;
            }
            "Private_Clean" | "Private_Dirty" | "Private_Hugetlb" => memory.uss_bytes += bytes()?,
            _ => {}
        }
    }
    seen.then_some(memory)
}

/// User and system time of a process in seconds, without its children's; in ticks of 10 ms on most kernels.
pub fn cpu_s(pid: Pid) -> Option<f64> {
    let stat = std::fs::read_to_string(file(pid, "stat")).ok()?;
    // the second field is the program's name in parentheses and may hold spaces and parentheses
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Living processes (zombies too) that carry the run's mark, but not this process itself.
pub fn marked(mark: &str) -> Vec<Pid> {
    let wanted = format!("{MARK}={mark}");
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let own = rustix::process::getpid();
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw)
        .filter(|pid| *pid != own)
        .filter(|pid| {
            std::fs::read(file(*pid, "environ")).is_ok_and(|environ| {
                environ.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
            })
        })
        .collect()
}

/// Kills (SIGKILL) what carries the mark, until nothing does or `rounds` looks, 10 ms apart, have passed.
/// Says whether nothing is left.
pub fn kill_marked(mark: &str, rounds: u32) -> bool {
    for _ in 0..rounds {
        let left = marked(mark);
        if left.is_empty() {
            return true;
        }
        for pid in left {
            // an error means that it is gone already, which is what is wanted
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    marked(mark).is_empty()
}

fn file(pid: Pid, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/{name}", pid.as_raw_nonzero()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_rollup_and_refuses_what_is_none() {
        let text = "55d6-7fff ---p 00000000 00:00 0   [rollup]\nRss:  1712 kB\nPss:   357 kB\nPss_Dirty: 112 kB\n\
                    Private_Clean: 56 kB\nPrivate_Dirty:  112 kB\nPrivate_Hugetlb:  0 kB\n";
        assert_eq!(parse_rollup(text), Some(Memory { pss_bytes: 357 * 1024, uss_bytes: 168 * 1024 }));
        assert_eq!(parse_rollup(""), None);
    }

    #[test]
    fn own_figures_are_there() {
        let own = rustix::process::getpid();
        let memory = memory(own).expect("own rollup");
        assert!(memory.pss_bytes >= memory.uss_bytes && memory.uss_bytes > 0);
        assert!(cpu_s(own).is_some());
    }
}
