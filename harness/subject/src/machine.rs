//! What this machine is and how busy it is with things that are not ours.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;

/// Raises the soft limit of open files to the hard one; children inherit it. Gives the limit, `None` = unlimited.
pub fn raise_open_file_limit() -> std::io::Result<Option<u64>> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.maximum)
}

/// As the kernel names it; `None` on architectures where it does not.
pub fn cpu_model() -> Option<String> {
    field("/proc/cpuinfo", "model name")
}

pub fn memory_bytes() -> Option<u64> {
    Some(field("/proc/meminfo", "MemTotal")?.strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// What new programs may take without swapping, as the kernel estimates it.
pub fn available_bytes() -> Option<u64> {
    Some(field("/proc/meminfo", "MemAvailable")?.strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// Name, release and architecture, as of uname(2).
pub fn kernel() -> String {
    let uname = rustix::system::uname();
    let words = [uname.sysname(), uname.release(), uname.machine()];
    words.map(|word| word.to_string_lossy().into_owned()).join(" ")
}

/// The value of the first `name : value` line.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned()).next()
}

/// Processor time in seconds that all cores together spent working, and that a hypervisor took away.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Busy {
    pub busy_s: f64,
    pub stolen_s: f64,
}

impl Busy {
    /// Since the machine started; /proc/stat.
    pub fn now() -> Option<Busy> {
        Busy::parse(&fs::read_to_string("/proc/stat").ok()?, rustix::param::clock_ticks_per_second() as f64)
    }

    fn parse(stat: &str, ticks_per_s: f64) -> Option<Busy> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<f64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; the guests' time is in user already
        let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = ticks[..] else { return None };
        Some(Busy {
            busy_s: (user + nice + system + irq + softirq) / ticks_per_s,
            stolen_s: steal / ticks_per_s,
        })
    }

    pub fn since(self, earlier: Busy) -> Busy {
        Busy { busy_s: self.busy_s - earlier.busy_s, stolen_s: self.stolen_s - earlier.stolen_s }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_work_but_neither_waiting_nor_guests_twice() {
        let stat = "cpu  100 20 300 9999 50 6 4 30 77 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        assert_eq!(Busy::parse(stat, 100.0), Some(Busy { busy_s: 4.3, stolen_s: 0.3 }));
        assert_eq!(Busy::parse("intr 5\n", 100.0), None);
    }
}
