//! The client's side of the MTA's control socket: one JSON object a line each way.

use crate::Error;
use crate::interrupt::Interrupt;
use rustix::process::Pid;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::io::ErrorKind;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// An answer names every agent, so it grows with them; more than this is not an answer.
const MAX_ANSWER_BYTES: u64 = 4 * 1024 * 1024;
/// How long the operator waits at most until a wait for an answer is given up.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A connection to the control socket.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    stream: BufReader<UnixStream>,
    interrupt: Interrupt,
}

/// What `status` tells. Counts of messages, except where it says otherwise.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    /// Being received, not yet durable.
    pub incoming: u64,
    /// In delivery now.
    pub active: u64,
    /// Waiting for a later time.
    pub deferred: u64,
    /// Held by the operator.
    #[serde(default)]
    pub held: u64,
    /// May be delivered now, also while delivery is paused.
    pub due: u64,
    /// Recipients delivered since the start.
    pub delivered: u64,
    /// Recipients bounced since the start.
    pub bounced: u64,
    pub agents: Agents,
    pub pids: Pids,
    pub cpu_s: Cpu,
}

/// Delivery agents by state, and since the start.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Agents {
    pub idle: u64,
    pub busy: u64,
    pub starting: u64,
    pub spawned: u64,
    pub died: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Pids {
    /// `None`, as below, where the MTA can't tell.
    pub starter: Option<i32>,
    pub queue: i32,
    pub reception: Option<i32>,
    #[serde(default)]
    pub agents: Vec<i32>,
}

/// Processor time by role in seconds; `None` where the MTA can't tell.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Cpu {
    pub starter: Option<f64>,
    pub queue: Option<f64>,
    pub reception: Option<f64>,
    pub agents: Option<f64>,
}

/// Agents were started for the waiting mail.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Ramp {
    pub agents: u64,
    pub ramp_s: f64,
}

#[derive(Deserialize)]
struct Released {
    released_ns: u64,
}

#[derive(Deserialize)]
struct Verdict {
    ok: bool,
    error: Option<String>,
}

impl Status {
    /// Nothing is being received or delivered or could be delivered now.
    pub fn is_drained(&self) -> bool {
        self.incoming + self.active + self.due == 0
    }

    /// Messages that are still the MTA's to deliver, now or later.
    pub fn queued(&self) -> u64 {
        self.incoming + self.active + self.due + self.deferred + self.held
    }
}

impl Pids {
    pub fn queue(&self) -> Option<Pid> {
        Pid::from_raw(self.queue)
    }

    pub fn reception(&self) -> Option<Pid> {
        self.reception.and_then(Pid::from_raw)
    }
}

impl Control {
    /// Waits for answers end early when `interrupt` is set.
    pub fn connect(path: &Path, interrupt: &Interrupt) -> Result<Control, Error> {
        let stream = UnixStream::connect(path).map_err(|error| Error::io("connecting to", path, error))?;
        Ok(Control { path: path.to_owned(), stream: BufReader::new(stream), interrupt: interrupt.clone() })
    }

    /// Queue, agents and processor time as they are now.
    pub fn status(&mut self, bound: Duration) -> Result<Status, Error> {
        self.ask("status", bound)
    }

    /// Starts agents for the waiting mail and waits until they are ready.
    pub fn ramp(&mut self, bound: Duration) -> Result<Ramp, Error> {
        self.ask("ramp", bound)
    }

    /// No delivery begins from now on.
    pub fn pause(&mut self, bound: Duration) -> Result<(), Error> {
        self.ask::<serde::de::IgnoredAny>("pause", bound).map(drop)
    }

    /// Lets delivery go; the moment it went on CLOCK_MONOTONIC, in nanoseconds.
    pub fn resume(&mut self, bound: Duration) -> Result<u64, Error> {
        self.ask::<Released>("resume", bound).map(|released| released.released_ns)
    }

    fn ask<T: DeserializeOwned>(&mut self, command: &'static str, bound: Duration) -> Result<T, Error> {
        let line = self.exchange(command, bound)?;
        let unclear = |problem: String| Error::Answer {
            from: "control socket",
            problem: format!("`{command}`: {problem}"),
        };
        let verdict: Verdict = serde_json::from_slice(&line).map_err(|error| unclear(error.to_string()))?;
        if !verdict.ok {
            return Err(unclear(verdict.error.unwrap_or_else(|| "refused without a reason".to_owned())));
        }
        serde_json::from_slice(&line).map_err(|error| unclear(error.to_string()))
    }

    fn exchange(&mut self, command: &str, bound: Duration) -> Result<Vec<u8>, Error> {
        let failed = |error| Error::io("asking", &self.path, error);
        let end = Instant::now() + bound;
        let socket = self.stream.get_mut();
        socket.set_write_timeout(Some(bound)).map_err(failed)?;
        socket.set_read_timeout(Some(LOOK_EVERY)).map_err(failed)?;
        socket.write_all(format!("{{\"command\":\"{command}\"}}\n").as_bytes()).map_err(failed)?;
        let mut line = Vec::new();
        loop {
            let left = MAX_ANSWER_BYTES - line.len() as u64;
            // what came before a timeout stays in `line`
            match self.stream.by_ref().take(left).read_until(b'\n', &mut line) {
                Ok(_) if line.last() == Some(&b'\n') => return Ok(line),
                Ok(_) => {
                    let what =
                        if line.is_empty() { "closed without an answer" } else { "the answer has no end" };
                    return Err(failed(std::io::Error::new(ErrorKind::UnexpectedEof, what)));
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    self.interrupt.check()?;
                    if Instant::now() >= end {
                        let waiting_for = format!("an answer to `{command}`");
                        return Err(Error::Late { waiting_for, bound, log: String::new() });
                    }
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }
}
