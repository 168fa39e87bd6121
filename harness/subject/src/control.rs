//! The client's side of the MTA's control socket: one JSON object a line each way.

use crate::Error;
use rustix::process::Pid;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An answer names every agent, so it grows with them; more than this is not an answer.
const MAX_ANSWER_BYTES: u64 = 4 * 1024 * 1024;

/// A connection to the control socket.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    stream: BufReader<UnixStream>,
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
    pub starter: i32,
    pub queue: i32,
    pub reception: i32,
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
        Pid::from_raw(self.reception)
    }
}

impl Control {
    pub fn connect(path: &Path) -> Result<Control, Error> {
        let stream = UnixStream::connect(path).map_err(|error| Error::io("connecting to", path, error))?;
        Ok(Control { path: path.to_owned(), stream: BufReader::new(stream) })
    }

    pub fn status(&mut self, bound: Duration) -> Result<Status, Error> {
        self.ask("status", bound)
    }

    /// Starts agents for the waiting mail and waits until they are ready.
    pub fn ramp(&mut self, bound: Duration) -> Result<Ramp, Error> {
        self.ask("ramp", bound)
    }

    /// Lets delivery go; the moment it went on CLOCK_MONOTONIC, in nanoseconds.
    pub fn resume(&mut self, bound: Duration) -> Result<u64, Error> {
        self.ask::<Released>("resume", bound).map(|released| released.released_ns)
    }

    fn ask<T: DeserializeOwned>(&mut self, command: &'static str, bound: Duration) -> Result<T, Error> {
        let line = self.exchange(command, bound).map_err(|error| Error::io("asking", &self.path, error))?;
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

    fn exchange(&mut self, command: &str, bound: Duration) -> std::io::Result<Vec<u8>> {
        let socket = self.stream.get_mut();
        socket.set_read_timeout(Some(bound))?;
        socket.set_write_timeout(Some(bound))?;
        socket.write_all(format!("{{\"command\":\"{command}\"}}\n").as_bytes())?;
        let mut line = Vec::new();
        self.stream.by_ref().take(MAX_ANSWER_BYTES).read_until(b'\n', &mut line)?;
        if line.last() == Some(&b'\n') {
            return Ok(line);
        }
        let what = if line.is_empty() { "closed without an answer" } else { "the answer has no end" };
        Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, what))
    }
}
