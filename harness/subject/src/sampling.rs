//! A thread that looks at every role about ten times a second: processes, memory, processor time, and what the
//! sink says of itself.
//!
//! Looking costs time that the sink and the load generator would have had, so it has a budget: a reading of
//! smaps_rollup takes up to 0.3 ms, and where a role has more processes than the budget allows, a rotating few are
//! read at each look and stand for the others. What it did cost is part of the result.

use crate::groups::Group;
use crate::live::Live;
use crate::process::{self, Memory};
use rustix::process::Pid;
use rustix::time::{ClockId, clock_gettime};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two looks, unless looking is too dear.
pub const INTERVAL: Duration = Duration::from_millis(100);
/// Of one core.
pub const BUDGET_RATIO: f64 = 0.05;
/// Processes of a role that are read at one look.
pub const READS_MAX: usize = 32;

/// One role that is looked at.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The value of the column `role`.
    pub role: &'static str,
    pub processes: Source,
    /// Where its processor time is read; without a group it is that of the living processes.
    pub group: Option<Group>,
    /// The sink's own figures, on the row of the sink.
    pub live: Option<Live>,
}

/// Which processes a role has at a moment.
#[derive(Clone, Debug)]
pub enum Source {
    /// Those in the group, but for some that have a row of their own.
    Group { group: Group, except: Vec<Pid> },
    /// Those in a list that others keep.
    List(Arc<Mutex<Vec<Pid>>>),
}

impl Source {
    pub fn one(pid: Pid) -> Source {
        Source::List(Arc::new(Mutex::new(vec![pid])))
    }

    pub(crate) fn processes(&self) -> Vec<Pid> {
        match self {
            Source::Group { group, except } => {
                let mut processes = group.processes();
                processes.retain(|pid| !except.contains(pid));
                processes
            }
            Source::List(list) => list.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// One role at one moment. `None` = could not be seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// CLOCK_MONOTONIC.
    pub at_ns: u64,
    pub role: &'static str,
    pub processes: u64,
    /// Of all processes of the role together.
    pub pss_bytes: Option<u64>,
    pub uss_bytes: Option<u64>,
    /// Since the group was made, or of the living processes since they started.
    pub cpu_s: Option<f64>,
    /// Held by the kernel for the role's group.
    pub kernel_bytes: Option<u64>,
    pub in_flight: Option<u64>,
    /// Messages that the sink has accepted.
    pub delivered: Option<u64>,
}

/// What sampling did and what it cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    pub cpu_s: f64,
    pub elapsed_s: f64,
    pub looks: u64,
    /// The longest time between two looks that the budget asked for.
    pub interval_ms_max: f64,
    /// A role had more processes than were read at a look.
    pub processes_were_sampled: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Samples {
    pub samples: Vec<Sample>,
    pub cost: Cost,
}

impl Samples {
    /// The highest value of a role.
    pub fn peak(&self, role: &str, value: impl Fn(&Sample) -> Option<u64>) -> Option<u64> {
        self.samples.iter().filter(|sample| sample.role == role).filter_map(value).max()
    }
}

/// The running thread; it ends when [`Sampler::stop`] is called or this is dropped.
#[derive(Debug)]
pub struct Sampler {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Samples>>,
}

impl Sampler {
    pub fn start(watched: Vec<Watched>) -> Sampler {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        Sampler { stop, thread: Some(std::thread::spawn(move || look_until(&seen, watched))) }
    }

    /// Looks a last time and gives everything.
    pub fn stop(mut self) -> Samples {
        self.end().unwrap_or_default()
    }

    fn end(&mut self) -> Option<Samples> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take()?;
        thread.thread().unpark();
        thread.join().ok()
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.end();
    }
}

fn look_until(stop: &AtomicBool, watched: Vec<Watched>) -> Samples {
    let mut readers: Vec<(Watched, Reader)> =
        watched.into_iter().map(|role| (role, Reader::default())).collect();
    let mut all = Samples::default();
    let mut pace = Pace::default();
    let started_ns = monotonic_ns();
    loop {
        let last = stop.load(Ordering::Relaxed);
        let began_ns = monotonic_ns();
        let cpu_before = thread_cpu_s();
        for (role, reader) in &mut readers {
            all.samples.push(reader.look(role, &mut pace, &mut all.cost));
        }
        let spent_s = thread_cpu_s() - cpu_before;
        all.cost.cpu_s += spent_s;
        all.cost.looks += 1;
        if last {
            all.cost.elapsed_s = (monotonic_ns() - started_ns) as f64 / 1e9;
            return all;
        }
        let interval = pace.next(spent_s);
        all.cost.interval_ms_max = all.cost.interval_ms_max.max(interval.as_secs_f64() * 1e3);
        let end_ns = began_ns + interval.as_nanos() as u64;
        while !stop.load(Ordering::Relaxed) {
            let now_ns = monotonic_ns();
            if now_ns >= end_ns {
                break;
            }
            std::thread::park_timeout(Duration::from_nanos(end_ns - now_ns));
        }
    }
}

/// How many readings a look may make and how long it waits for the next, from what readings have cost so far.
#[derive(Debug)]
struct Pace {
    read_s: f64,
    reads: usize,
}

impl Default for Pace {
    fn default() -> Pace {
        // the dear case until it is known better
        Pace { read_s: 300e-6, reads: 0 }
    }
}

impl Pace {
    fn reads_allowed(&self) -> usize {
        // half of the budget: the rest is for lists of processes and for the groups' files
        let allowed = INTERVAL.as_secs_f64() * BUDGET_RATIO / 2.0 / self.read_s.max(1e-6);
        (allowed as usize).clamp(1, READS_MAX)
    }

    fn memory(&mut self, pid: Pid) -> Option<Memory> {
        let before = thread_cpu_s();
        let memory = process::memory(pid);
        self.reads += 1;
        self.read_s += (thread_cpu_s() - before - self.read_s) / 16.0;
        memory
    }

    /// The time from this look's beginning to the next one's.
    fn next(&mut self, spent_s: f64) -> Duration {
        self.reads = 0;
        INTERVAL.max(Duration::from_secs_f64(spent_s / BUDGET_RATIO))
    }
}

/// What is remembered of a role from look to look.
#[derive(Debug, Default)]
struct Reader {
    /// The newest reading of each living process that was read.
    known: HashMap<Pid, Memory>,
    next: usize,
}

impl Reader {
    fn look(&mut self, watched: &Watched, pace: &mut Pace, cost: &mut Cost) -> Sample {
        let at_ns = monotonic_ns();
        let processes = watched.processes.processes();
        let reads = processes.len().min(pace.reads_allowed().saturating_sub(pace.reads).max(1));
        cost.processes_were_sampled |= reads < processes.len();
        if processes.len() > 1 {
            let living: std::collections::HashSet<&Pid> = processes.iter().collect();
            self.known.retain(|pid, _| living.contains(pid));
        } else {
            self.known.clear();
        }
        for step in 0..reads {
            let pid = processes[(self.next + step) % processes.len()];
            if let Some(memory) = pace.memory(pid) {
                self.known.insert(pid, memory);
            }
        }
        self.next = self.next.wrapping_add(reads);
        let scale = processes.len() as f64 / self.known.len() as f64;
        let total = |part: fn(&Memory) -> u64| {
            let sum: u64 = self.known.values().map(part).sum();
            if processes.is_empty() {
                Some(0)
            } else if self.known.is_empty() {
                None
            } else {
                Some((sum as f64 * scale) as u64)
            }
        };
        let cpu_s = match &watched.group {
            Some(group) => group.cpu_s(),
            None if processes.len() <= READS_MAX => processes.iter().map(|pid| process::cpu_s(*pid)).sum(),
            None => None,
        };
        let figures = watched.live.as_ref().and_then(Live::figures);
        Sample {
            at_ns,
            role: watched.role,
            processes: processes.len() as u64,
            pss_bytes: total(|memory| memory.pss_bytes),
            uss_bytes: total(|memory| memory.uss_bytes),
            cpu_s,
            kernel_bytes: watched.group.as_ref().and_then(Group::kernel_bytes),
            in_flight: figures.map(|figures| figures.in_flight),
            delivered: figures.map(|figures| figures.accepted),
        }
    }
}

/// Now on CLOCK_MONOTONIC, as all `_ns` figures of sink, load generator and MTA.
pub fn monotonic_ns() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

fn thread_cpu_s() -> f64 {
    nanoseconds(ClockId::ThreadCPUTime) as f64 / 1e9
}

fn nanoseconds(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
