//! One child process of a trial: started in its place, watched, stopped with a bound on every wait.
//!
//! Children ask the kernel to be ended with the thread that started them, so they must be started by a thread that
//! lives as long as they should: the one that runs the trial.

use crate::enter::Place;
use crate::interrupt::Interrupt;
use crate::{Error, process};
use rustix::process::{Pid, Signal};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// After SIGKILL: only a process stuck in the kernel takes longer.
const KILL_BOUND: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How much of a child's log an error shows.
const TAIL_LINES: usize = 8;
const TAIL_BYTES: u64 = 4096;

/// How all children of a run are started.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// The executable that carries every role.
    pub exe: PathBuf,
    /// Its arguments for becoming a child in its place; see [`crate::enter`].
    pub enter: &'static [&'static str],
    /// The run's mark, see [`process::MARK`].
    pub mark: String,
}

/// What a child's standard output is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Read by us: [`Child::stdout`].
    Piped,
    Discarded,
}

impl Launcher {
    /// Starts the executable with `args` in `place`; its standard error goes to the file `log`.
    pub fn start(
        &self,
        name: &'static str,
        place: &Place,
        args: &[OsString],
        output: Output,
        log: &Path,
    ) -> Result<Child, Error> {
        let stderr = File::create(log).map_err(|error| Error::io("making the log", log, error))?;
        let mut command = Command::new(&self.exe);
        command.args(self.enter);
        for group in &place.groups {
            command.arg("--group").arg(group);
        }
        for core in &place.cores {
            command.arg("--core").arg(core.to_string());
        }
        command.arg("--").arg(&self.exe).args(args).env(process::MARK, &self.mark);
        command.stdin(Stdio::null()).stderr(stderr);
        command.stdout(if output == Output::Piped { Stdio::piped() } else { Stdio::null() });
        let process = command.spawn().map_err(|error| Error::Spawn { name, error })?;
        Ok(Child { name, process, log: log.to_owned() })
    }
}

/// A running (or ended) child; killed when dropped.
#[derive(Debug)]
pub struct Child {
    name: &'static str,
    process: std::process::Child,
    log: PathBuf,
}

/// How a child that was asked to stop did so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    Itself(ExitStatus),
    /// It had not ended within its time and was killed.
    Killed,
}

impl Child {
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The pipe from its standard output, once, if it was started with [`Output::Piped`].
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.process.stdout.take()
    }

    /// How it ended, if it has.
    pub fn exit(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.process.try_wait().map_err(|error| Error::Spawn { name: self.name, error })
    }

    /// An error if it has ended: for use inside waits for something that only a living child can bring.
    pub fn check_alive(&mut self) -> Result<(), Error> {
        match self.exit()? {
            None => Ok(()),
            Some(status) => {
                Err(Error::Ended { name: self.name, status: status.to_string(), log: self.last_lines() })
            }
        }
    }

    /// Waits for it to end by itself.
    pub fn wait(&mut self, bound: Duration, interrupt: &Interrupt) -> Result<ExitStatus, Error> {
        let ended = interrupt.wait_until(bound, || self.exit())?;
        ended.ok_or_else(|| self.late(format!("the {} to end", self.name), bound))
    }

    /// SIGTERM, and SIGKILL when it has not ended after `grace`.
    pub fn stop(&mut self, grace: Duration) -> Result<Stopped, Error> {
        if let Some(status) = self.exit()? {
            return Ok(Stopped::Itself(status));
        }
        // not reaped yet, so the number is still the child's
        let _ = rustix::process::kill_process(self.pid(), Signal::TERM);
        match self.wait_calmly(grace)? {
            Some(status) => Ok(Stopped::Itself(status)),
            None => self.kill().map(|()| Stopped::Killed),
        }
    }

    /// SIGKILL now.
    pub fn kill(&mut self) -> Result<(), Error> {
        if self.exit()?.is_none() {
            let _ = self.process.kill();
            if self.wait_calmly(KILL_BOUND)?.is_none() {
                return Err(self.late(format!("the {} to end after SIGKILL", self.name), KILL_BOUND));
            }
        }
        Ok(())
    }

    /// As [`Child::wait`], but also while the operator wants to stop: this is how stopping is done.
    fn wait_calmly(&mut self, bound: Duration) -> Result<Option<ExitStatus>, Error> {
        let end = Instant::now() + bound;
        loop {
            if let Some(status) = self.exit()? {
                return Ok(Some(status));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// The error for a bounded wait that ended without what it waited for.
    pub fn late(&self, waiting_for: String, bound: Duration) -> Error {
        Error::Late { waiting_for, bound, log: self.last_lines() }
    }

    /// The last lines of its log.
    pub fn last_lines(&self) -> String {
        let read = || -> std::io::Result<String> {
            let mut file = File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
            let mut bytes = Vec::new();
            file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let text = read().unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
