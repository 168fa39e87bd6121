//! `mailrig send` as a child: what it says of its run, and what clock and kernel say of it.

use benches::process::Process;
use benches::rig::Rig;
use rustix::process::Pid;
use serde_json::Value;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};
use sys::process::End;

/// For it to go once it has said what it found.
const END_BOUND: Duration = Duration::from_secs(10);
/// All statistics are on; nothing is shown meanwhile.
const ALWAYS: [&str; 3] = ["--quiet", "--json", "-"];

/// The command line without the program.
pub fn words<'a>(address: &'a str, load: &[&'a str]) -> Vec<&'a str> {
    ["send", address].into_iter().chain(load.iter().copied()).chain(ALWAYS).collect()
}

pub struct Sender {
    process: Process,
    began: Instant,
}

/// One run.
pub struct Sent {
    /// As `--json` gives it.
    pub report: Value,
    pub end: End,
    /// Of the whole command, from before its start until it was gone.
    pub elapsed: Duration,
    pub cpu_ns: u64,
}

impl Sender {
    pub fn start(rig: &Rig, address: SocketAddr, load: &[&str]) -> Result<Sender, String> {
        let address = address.to_string();
        let began = Instant::now();
        let mut command = rig.command(&rig.mailrig);
        let command = command.args(words(&address, load)).stdout(Stdio::piped());
        Ok(Sender { process: Process::start("mailrig send", command)?, began })
    }

    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    pub fn wait(mut self, bound: Duration) -> Result<Sent, String> {
        let text = self.process.rest(bound)?;
        let exit = self.process.wait(END_BOUND)?;
        let elapsed = self.began.elapsed();
        let report = serde_json::from_str(&text)
            .map_err(|error| format!("mailrig send ended with {:?} and no report: {error}", exit.end))?;
        Ok(Sent { report, end: exit.end, elapsed, cpu_ns: exit.cpu_ns })
    }
}

impl Sent {
    /// The figure at this place of the report, such as `/stages/message/p99_us`.
    pub fn figure(&self, place: &str) -> Result<f64, String> {
        let value = self.report.pointer(place).and_then(Value::as_f64);
        value.ok_or_else(|| format!("the report of mailrig send has no figure at {place}"))
    }

    pub fn is_valid(&self) -> bool {
        self.report["valid"] == true
    }

    /// An error unless each message was accepted.
    pub fn check(&self) -> Result<(), String> {
        if self.end == End::Status(0) {
            return Ok(());
        }
        let reason = [&self.report["stopped"], &self.report["invalid_because"], &self.report["errors"]];
        Err(format!("mailrig send ended with {:?}: {reason:?}", self.end))
    }
}
