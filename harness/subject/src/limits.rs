//! What the machine can hold, against what a trial will need: said before anything starts, with the limit's name and
//! how to raise it.

use crate::hierarchy;
use rustix::process::{Resource, getrlimit};
use std::fs;

/// What a trial needs at its peak, processes of harness, sink and MTA beside the agents included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub processes: u64,
    /// Processes count as one each.
    pub threads: u64,
    /// Of the process that has most threads; each has a mapping for its stack and one to guard it.
    pub threads_of_one: u64,
    /// Connections to one address of the sink, each from a port of its own.
    pub ports: u64,
    pub memory_bytes: u64,
}

/// What there is; `None`: no limit, or it can't be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// RLIMIT_NPROC, which does not hold for root.
    pub user_processes: Option<u64>,
    /// /proc/sys/kernel/pid_max: processes and threads of the whole machine.
    pub pid_max: Option<u64>,
    /// /proc/sys/kernel/threads-max.
    pub threads_max: Option<u64>,
    /// pids.max of the control group that this process is in, and of those above it.
    pub group_pids: Option<u64>,
    /// /proc/sys/vm/max_map_count: of one process.
    pub mappings: Option<u64>,
    /// /proc/sys/net/ipv4/ip_local_port_range.
    pub ports: Option<u64>,
    /// MemAvailable of /proc/meminfo.
    pub memory_bytes: Option<u64>,
    /// Processes and threads that there are already.
    pub threads_now: u64,
}

/// A limit that is too low.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooLow {
    pub message: String,
    pub hint: String,
}

impl Limits {
    /// As they are now.
    pub fn read() -> Limits {
        let number = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok();
        let ports = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok().and_then(|text| {
            let mut ends = text.split_whitespace().map(str::parse::<u64>);
            let (first, last) = (ends.next()?.ok()?, ends.next()?.ok()?);
            Some((last + 1).saturating_sub(first))
        });
        let root = rustix::process::geteuid().is_root();
        Limits {
            user_processes: getrlimit(Resource::Nproc).current.filter(|_| !root),
            pid_max: number("kernel/pid_max"),
            threads_max: number("kernel/threads-max"),
            group_pids: group_pids(),
            mappings: number("vm/max_map_count"),
            ports,
            memory_bytes: crate::machine::available_bytes(),
            threads_now: threads_now().unwrap_or(0),
        }
    }

    /// The first limit that `needs` would meet.
    pub fn check(&self, needs: &Needs) -> Result<(), TooLow> {
        let too_low = |needed: u64, limit: Option<u64>| limit.filter(|limit| needed > *limit);
        let threads = needs.threads + self.threads_now;
        let refuse = |what: String, hint: String| Err(TooLow { message: what, hint });
        if let Some(limit) = too_low(needs.processes, self.user_processes) {
            let what = format!("{} processes are needed, and a user may have {limit}", needs.processes);
            return refuse(what, format!("ulimit -u {} (its hard limit is in limits.conf)", needs.processes));
        }
        for (limit, name) in [(self.pid_max, "kernel.pid_max"), (self.threads_max, "kernel.threads-max")] {
            if let Some(limit) = too_low(threads, limit) {
                let what = format!(
                    "{} processes and threads are needed beside the {} that there are, and {name} is {limit}",
                    needs.threads, self.threads_now
                );
                return refuse(what, format!("sysctl {name}={}", threads.next_power_of_two()));
            }
        }
        if let Some(limit) = too_low(needs.threads, self.group_pids) {
            let what = format!(
                "{} processes and threads are needed, and the control group has room for {limit} (pids.max)",
                needs.threads
            );
            return refuse(
                what,
                "raise pids.max of the group, or systemd-run --scope -p TasksMax=infinity".to_owned(),
            );
        }
        let mappings = needs.threads_of_one * 2 + MAPPINGS_BESIDE;
        if let Some(limit) = too_low(mappings, self.mappings) {
            let what = format!(
                "a process of {} threads needs {mappings} mappings, and vm.max_map_count is {limit}",
                needs.threads_of_one
            );
            return refuse(what, format!("sysctl vm.max_map_count={}", mappings.next_power_of_two()));
        }
        if let Some(limit) = too_low(needs.ports, self.ports) {
            let what = format!(
                "{} connections to one address are needed, and net.ipv4.ip_local_port_range has {limit} ports",
                needs.ports
            );
            return refuse(what, "sysctl net.ipv4.ip_local_port_range=\"1024 65535\"".to_owned());
        }
        if let Some(limit) = too_low(needs.memory_bytes, self.memory_bytes) {
            let mebibytes = |bytes: u64| bytes >> 20;
            let what = format!(
                "about {} MiB of memory are needed, and {} MiB are free",
                mebibytes(needs.memory_bytes),
                mebibytes(limit)
            );
            return refuse(what, "end other programs, or take the largest points out".to_owned());
        }
        Ok(())
    }
}

/// Of a process with many threads: its program and heaps.
const MAPPINGS_BESIDE: u64 = 200;

/// The room left in the control groups of this process, the narrowest of them.
fn group_pids() -> Option<u64> {
    let mounted = hierarchy::mounted().ok()?;
    let own = mounted.iter().filter(|one| one.has("pids") || one.version == hierarchy::Version::V2);
    let rooms = own.flat_map(|one| one.own.ancestors().map(|folder| folder.to_owned()).collect::<Vec<_>>());
    rooms
        .filter_map(|folder| {
            let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
            Some(number("pids.max")?.saturating_sub(number("pids.current").unwrap_or(0)))
        })
        .min()
}

/// The second number of the fourth field of /proc/loadavg.
fn threads_now() -> Option<u64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_named_with_what_raises_it() {
        let wide = Limits {
            user_processes: Some(20_000),
            pid_max: Some(32_768),
            threads_max: Some(100_000),
            group_pids: None,
            mappings: Some(65_530),
            ports: Some(28_232),
            memory_bytes: Some(20 << 30),
            threads_now: 300,
        };
        let needs = Needs {
            processes: 10_000,
            threads: 10_000,
            threads_of_one: 10,
            ports: 9_900,
            memory_bytes: 2 << 30,
        };
        assert_eq!(wide.check(&needs), Ok(()));
        let narrow: [(&str, Limits, Needs); 7] = [
            ("ulimit -u", Limits { user_processes: Some(4096), ..wide }, needs),
            ("kernel.pid_max", Limits { pid_max: Some(10_299), ..wide }, needs),
            ("kernel.threads-max", Limits { threads_max: Some(5000), ..wide }, needs),
            ("pids.max", Limits { group_pids: Some(9000), ..wide }, needs),
            ("vm.max_map_count", wide, Needs { threads_of_one: 33_000, ..needs }),
            ("ip_local_port_range", wide, Needs { ports: 30_000, ..needs }),
            ("memory", wide, Needs { memory_bytes: 40 << 30, ..needs }),
        ];
        for (name, limits, needs) in narrow {
            let refused = limits.check(&needs).expect_err(name);
            assert!(refused.message.contains(name) || refused.hint.contains(name), "{name}: {refused:?}");
        }
    }

    #[test]
    fn this_machine_has_limits() {
        let limits = Limits::read();
        assert!(
            limits.pid_max > Some(100) && limits.memory_bytes.is_some() && limits.threads_now > 0,
            "{limits:?}"
        );
        assert_eq!(limits.check(&Needs { processes: 1, threads: 1, ..Needs::default() }), Ok(()));
    }
}
