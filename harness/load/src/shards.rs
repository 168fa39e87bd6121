//! One load from several processes: each sends its share of the same schedule, and what they found is added up exactly.
//!
//! A shard is this executable again. It is told its share on its command line and tells what it found on its standard
//! output, a line of JSON each. All begin at the same moment of CLOCK_MONOTONIC, and message numbers are those of the whole
//! load, so that nobody who looks at the mail can tell how many processes sent it.

use crate::clock;
use crate::options::Error;
use crate::record::{Output, Outputs, Recorder};
use crate::schedule::{Plan, Shard};
use crate::signals::Signals;
use crate::statistics::summary::{Interval, Summary};
use crate::watch::Watch;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::spawn;
use std::time::Duration;

/// A shard's share of a load.
#[derive(Debug, Serialize, Deserialize)]
pub struct Assignment {
    pub plan: Plan,
    pub connections: u32,
    /// The first part of all ids.
    pub run: String,
    /// When to begin, CLOCK_MONOTONIC.
    pub start_ns: u64,
    /// Whether to tell of each second.
    pub parts: bool,
}

/// What a shard says: a part for each second, and the end.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Part(Interval),
    End(Summary),
}

/// Sends a load by `of` processes with `connections` in all. `command` makes the command line of a shard from its
/// assignment.
///
/// # Errors
/// More shards than connections, or a shard that could not be started or died.
pub fn measure(
    plan: &Plan,
    connections: u32,
    run: &str,
    of: u32,
    command: impl Fn(&str) -> io::Result<Command>,
    watch: &mut Watch,
) -> Result<Summary, Error> {
    if !(1..=connections.min(SHARDS_MAX)).contains(&of) {
        let most = connections.min(SHARDS_MAX);
        return Err(Error::option("--shards", format!("from 1 to {most}, a connection for each at least")));
    }
    let signals = Signals::watch().map_err(Error::Runtime)?;
    let start_ns = clock::monotonic_now_ns() + START.as_nanos() as u64;
    let (sender, receiver) = channel();
    let mut team = Team { shards: Vec::new() };
    for index in 0..of {
        let assignment = Assignment {
            plan: Plan { shard: Shard { index, of }, ..plan.clone() },
            connections: connections / of + u32::from(index < connections % of),
            run: run.to_owned(),
            start_ns,
            parts: watch.every().is_some(),
        };
        let assignment =
            serde_json::to_string(&assignment).expect("an assignment has nothing that JSON has not");
        let command = command(&assignment).map_err(Error::Runtime)?;
        team.start(command, &sender).map_err(Error::Runtime)?;
    }
    drop(sender);
    team.add_up(&receiver, &signals, watch)
}

/// Where a shard's parts go while it runs.
pub fn parts_to_parent(assignment: &Assignment) -> Watch {
    let lines = Output { name: "standard output".into(), writer: Box::new(io::stdout()) };
    let outputs = Outputs { lines: Some(lines), ..Outputs::default() };
    let recorder = assignment.parts.then(|| Recorder::start(outputs)).flatten();
    Watch { progress: None, recorder }
}

/// What a shard says at its end.
///
/// # Errors
/// Nobody listens any more.
pub fn end_to_parent(summary: &Summary) -> io::Result<()> {
    let mut line = serde_json::to_vec(summary)?;
    line.push(b'\n');
    io::stdout().write_all(&line)
}

/// The processes of one load. Those that are left when it is dropped are killed.
struct Team {
    shards: Vec<Member>,
}

struct Member {
    child: Child,
    /// Parts that were told and not yet added to those of the others.
    parts: VecDeque<Interval>,
    summary: Option<Summary>,
    silent: bool,
}

impl Team {
    fn start(&mut self, mut command: Command, sender: &Sender<(usize, Option<Line>)>) -> io::Result<()> {
        // A group of its own: signals of the terminal are for us, who hand them on once.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().expect("standard output is piped");
        let (index, sender) = (self.shards.len(), sender.clone());
        spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Some(line) = line.ok().and_then(|line| serde_json::from_str(&line).ok()) else { break };
                if sender.send((index, Some(line))).is_err() {
                    break;
                }
            }
            let _ = sender.send((index, None));
        });
        self.shards.push(Member { child, parts: VecDeque::new(), summary: None, silent: false });
        Ok(())
    }

    fn add_up(
        mut self,
        receiver: &Receiver<(usize, Option<Line>)>,
        signals: &Signals,
        watch: &mut Watch,
    ) -> Result<Summary, Error> {
        while self.shards.iter().any(|shard| !shard.silent) {
            if signals.take() {
                self.hand_on(Signal::TERM);
            }
            match receiver.recv_timeout(LOOK_EVERY) {
                Ok((index, Some(Line::Part(part)))) => self.shards[index].parts.push_back(part),
                Ok((index, Some(Line::End(summary)))) => self.shards[index].summary = Some(summary),
                Ok((index, None)) => self.shards[index].silent = true,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            }
            while let Some(part) = self.next_part() {
                watch.tell(part);
            }
        }
        let mut all: Option<Summary> = None;
        for (index, shard) in self.shards.iter_mut().enumerate() {
            let status = shard.child.wait().map_err(Error::Runtime)?;
            let Some(summary) = shard.summary.take() else {
                return Err(Error::Shard { index: index as u32, status });
            };
            match &mut all {
                None => all = Some(summary),
                Some(all) => all.add(summary),
            }
        }
        Ok(all.expect("there is at least one shard"))
    }

    /// The next part of all that still tell, once each has told it.
    fn next_part(&mut self) -> Option<Interval> {
        let waiting = |shard: &Member| shard.parts.is_empty() && shard.summary.is_none() && !shard.silent;
        if self.shards.iter().any(waiting) {
            return None;
        }
        let mut parts = self.shards.iter_mut().filter_map(|shard| shard.parts.pop_front());
        let mut all = parts.next()?;
        parts.for_each(|part| all.add(&part));
        Some(all)
    }

    fn hand_on(&self, signal: Signal) {
        for shard in &self.shards {
            // One that has ended needs none.
            let _ = kill_process(Pid::from_child(&shard.child), signal);
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        for shard in &mut self.shards {
            let _ = shard.child.kill();
            let _ = shard.child.wait();
        }
    }
}

/// Until all shards have started: they begin at the same moment.
const START: Duration = Duration::from_millis(300);
/// Between two looks whether a signal came.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// More than a machine has processors for.
const SHARDS_MAX: u32 = 256;
