//! The executable as a child process, and all that descends from it.
//!
//! Every child carries a mark in its environment, which stays through forks and sessions of its own. So a test sees
//! whether anything is left, and ends by pid what it started, also when it fails.

use super::patience::{BOUND, eventually};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};

const VARIABLE: &str = "MAILRIG_TEST_MARK";

/// Found in the environment of a child and of all its descendants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark(String);

impl Mark {
    pub fn new() -> Mark {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Mark(format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Pids of what lives with this mark; a zombie has no environment any more.
    pub fn living(&self) -> Vec<u32> {
        let wanted = format!("{VARIABLE}={}", self.0);
        let entries = std::fs::read_dir("/proc").expect("/proc is mounted");
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        pids.filter(|pid| {
            std::fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|one| one == wanted.as_bytes()))
        })
        .collect()
    }

    /// Waits until nothing lives with this mark.
    pub fn wait_gone(&self) {
        eventually("all processes end", || self.living().is_empty());
    }

    pub fn kill_all(&self) {
        // what forks meanwhile is caught by another look
        for _ in 0..50 {
            let living = self.living();
            if living.is_empty() {
                return;
            }
            living.iter().for_each(|pid| signal(*pid, Signal::KILL));
        }
    }
}

/// Sends a signal; a process that is gone already has what was wanted.
pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a pid is not 0");
    let _ = kill_process(pid, signal);
}

/// A command line of the executable.
pub fn mailrig<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(arguments: I) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mailrig"));
    command.args(arguments);
    command
}

/// Runs to the end: for what ends by itself at once.
pub fn finish(mut command: Command) -> Output {
    command.stdin(Stdio::null()).output().expect("the executable starts")
}

/// What a command line that must fail said on standard error; checks the exit status.
pub fn refusal<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(arguments: I, status: i32) -> String {
    let mark = Mark::new();
    let mut command = mailrig(arguments);
    command.env(VARIABLE, &mark.0).stdout(Stdio::null()).stderr(Stdio::piped()).stdin(Stdio::null());
    let mut child = command.spawn().expect("the executable starts");
    let mut found = None;
    let end = std::time::Instant::now() + BOUND;
    while found.is_none() && std::time::Instant::now() < end {
        found = child.try_wait().expect("it is our child");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    mark.kill_all();
    let output = child.wait_with_output().expect("it is our child");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(found.and_then(|found| found.code()), Some(status), "{text}");
    text
}

/// A running child. Dropped, it and its descendants are killed.
pub struct Process {
    child: Child,
    pub mark: Mark,
    lines: Receiver<String>,
    stderr: PathBuf,
}

impl Process {
    /// Starts `command`; its standard error goes to the file `stderr`.
    pub fn start(mut command: Command, stderr: &Path) -> Process {
        let mark = Mark::new();
        let errors = File::create(stderr).expect("the test's folder is writable");
        command.env(VARIABLE, &mark.0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().expect("the executable starts");
        let stdout = child.stdout.take().expect("it is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Process { child, mark, lines, stderr: stderr.to_owned() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line on standard output.
    pub fn line(&self) -> String {
        self.lines.recv_timeout(BOUND).unwrap_or_else(|error| panic!("no line ({error}): {}", self.errors()))
    }

    /// The address in the next `ready` line.
    pub fn ready(&self) -> SocketAddr {
        let line = self.line();
        let address = line.strip_prefix("ready ").and_then(|address| address.parse().ok());
        address.unwrap_or_else(|| panic!("wanted `ready ADDR:PORT`, got `{line}`"))
    }

    /// What it said on standard error so far.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    pub fn signal(&self, what: Signal) {
        signal(self.pid(), what);
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the process ends", || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        });
        status.expect("eventually said so")
    }

    /// Asks it to end, and waits until neither it nor a descendant is left.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let status = self.wait();
        self.mark.wait_gone();
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.mark.kill_all();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
