//! One child process: every wait for it is bounded, and its whole processor time is known when it has ended.
//!
//! That time is the kernel's (wait4(2)): exact, the same for every program, and no program's own word.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command};
use std::time::{Duration, Instant};
use sys::process::{Exit, reap_child};

/// After SIGKILL: only a process stuck in the kernel takes longer.
const KILL_BOUND: Duration = Duration::from_secs(10);

/// A child that was not reaped yet; killed and reaped when dropped.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    pid: Pid,
    child: Child,
    lines: Option<BufReader<ChildStdout>>,
    reaped: bool,
}

impl Process {
    pub fn start(name: &'static str, command: &mut Command) -> Result<Process, String> {
        let mut child = command.spawn().map_err(|error| format!("starting {name}: {error}"))?;
        let lines = child.stdout.take().map(BufReader::new);
        Ok(Process { name, pid: Pid::from_child(&child), child, lines, reaped: false })
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The next line of its standard output, which must be a pipe, without the line end.
    pub fn line(&mut self, bound: Duration) -> Result<String, String> {
        let name = self.name;
        let lines = self.lines.as_mut().ok_or_else(|| format!("{name} was started without a pipe"))?;
        let mut line = String::new();
        let read = if lines.buffer().is_empty() && !readable(lines.get_ref(), bound)? {
            return Err(format!("{name} said nothing for {} s", bound.as_secs()));
        } else {
            // whole lines are written at once, so this does not wait
            lines.read_line(&mut line)
        };
        match read {
            Ok(0) => Err(format!("{name} ended early")),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(error) => Err(format!("reading what {name} says: {error}")),
        }
    }

    /// What it says until it closes its standard output, which must be a pipe.
    pub fn rest(&mut self, bound: Duration) -> Result<String, String> {
        let name = self.name;
        let lines = self.lines.as_mut().ok_or_else(|| format!("{name} was started without a pipe"))?;
        let end = Instant::now() + bound;
        let mut text = lines.buffer().to_vec();
        lines.consume(text.len());
        let mut piece = [0; 4096];
        loop {
            if !readable(lines.get_ref(), end.saturating_duration_since(Instant::now()))? {
                return Err(format!("{name} did not end within {} s", bound.as_secs()));
            }
            match lines.read(&mut piece).map_err(|error| format!("reading what {name} says: {error}"))? {
                0 => return Ok(String::from_utf8_lossy(&text).into_owned()),
                read => text.extend_from_slice(&piece[..read]),
            }
        }
    }

    /// Writes a line to its standard input, which must be a pipe.
    pub fn say(&mut self, line: &str) -> Result<(), String> {
        let name = self.name;
        let input = self.child.stdin.as_mut().ok_or_else(|| format!("{name} was started without a pipe"))?;
        writeln!(input, "{line}").map_err(|error| format!("telling {name}: {error}"))
    }

    pub fn has_ended(&self) -> Result<bool, String> {
        self.ends_within(Duration::ZERO)
    }

    /// Waits until it ends by itself; it is killed if it does not.
    pub fn wait(mut self, bound: Duration) -> Result<Exit, String> {
        if !self.ends_within(bound)? {
            return Err(format!("{} did not end within {} s", self.name, bound.as_secs()));
        }
        self.reap()
    }

    /// SIGTERM; it is killed if it has not ended after `grace`.
    pub fn terminate(self, grace: Duration) -> Result<Exit, String> {
        self.signal(Signal::TERM);
        self.wait(grace)
    }

    /// SIGKILL.
    pub fn kill(mut self) -> Result<Exit, String> {
        self.signal(Signal::KILL);
        if !self.ends_within(KILL_BOUND)? {
            return Err(format!("{} does not end although killed", self.name));
        }
        self.reap()
    }

    /// SIGSTOP: it does nothing until [`Process::resume`], but the kernel still takes connections and bytes for it.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        // not reaped, so the number is still the child's; if it has ended there is nothing to be done
        let _ = kill_process(self.pid, signal);
    }

    fn ends_within(&self, bound: Duration) -> Result<bool, String> {
        let watched = pidfd_open(self.pid, PidfdFlags::empty());
        let watched = watched.map_err(|error| format!("watching {}: {error}", self.name))?;
        readable(watched, bound)
    }

    fn reap(&mut self) -> Result<Exit, String> {
        let exit = reap_child(self.pid).map_err(|error| format!("reaping {}: {error}", self.name))?;
        let exit = exit.ok_or_else(|| format!("{} was reaped by others", self.name))?;
        self.reaped = true;
        Ok(exit)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.reaped {
            self.signal(Signal::KILL);
            if self.ends_within(KILL_BOUND).is_ok_and(|ended| ended) {
                let _ = self.reap();
            }
        }
    }
}

/// Waits until there is something to read, the end included.
fn readable(from: impl AsFd, bound: Duration) -> Result<bool, String> {
    let end = Instant::now() + bound;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(|_| format!("{bound:?} is too long to wait"))?;
        match poll(&mut [PollFd::new(&from, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(format!("waiting for a child: {error}")),
        }
    }
}
