//! What cleans up when the harness can't: a process of its own session that holds one end of a pipe.
//!
//! The harness writes what it makes, before it makes it, a JSON object a line. When the pipe closes without a
//! goodbye the harness has died (a crash, SIGKILL, out of memory), and what it named is killed and removed.
//! Processes are found by control group and by the run's mark, never by number alone, so nothing foreign is hit.

use crate::footprint::Footprint;
use crate::{Error, process};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// Looks for left processes, 10 ms apart.
const KILL_ROUNDS: u32 = 500;
/// What the guard prints once it is out of the reach of the terminal's signals.
const READY: &str = "ready";

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "snake_case")]
enum Note {
    /// Processes with this mark in their environment belong to the run.
    Mark {
        mark: String,
    },
    Groups {
        footprint: Footprint,
    },
    Directory {
        path: PathBuf,
    },
    /// The directory was removed in good order.
    Gone {
        path: PathBuf,
    },
    Goodbye,
}

/// The harness's end. Dropped without [`Guard::goodbye`], everything noted is cleaned by the guard.
#[derive(Debug)]
pub struct Guard {
    process: Child,
    notes: Option<ChildStdin>,
}

impl Guard {
    /// Starts `exe args..`, which must call [`watch`], and tells it the mark.
    pub fn start(exe: &Path, args: &[&str], mark: &str) -> Result<Guard, Error> {
        let spawned = Command::new(exe).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = spawned.map_err(|error| Error::Spawn { name: "guard", error })?;
        let stdout = process.stdout.take().expect("stdout is piped");
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line);
        if read.is_err() || line.trim() != READY {
            let _ = process.kill();
            let _ = process.wait();
            return Err(Error::Answer {
                from: "guard",
                problem: format!("wanted `{READY}`, got `{}`", line.trim()),
            });
        }
        let notes = process.stdin.take();
        let mut guard = Guard { process, notes };
        guard.note(&Note::Mark { mark: mark.to_owned() })?;
        Ok(guard)
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// To be called before the groups are made.
    pub fn groups(&mut self, footprint: Footprint) -> Result<(), Error> {
        self.note(&Note::Groups { footprint })
    }

    /// To be called before the directory is made.
    pub fn directory(&mut self, path: &Path) -> Result<(), Error> {
        self.note(&Note::Directory { path: path.to_owned() })
    }

    pub fn gone(&mut self, path: &Path) -> Result<(), Error> {
        self.note(&Note::Gone { path: path.to_owned() })
    }

    /// All is cleaned: the guard ends.
    pub fn goodbye(mut self) {
        // if it has died there is nobody to say goodbye to
        let _ = self.note(&Note::Goodbye);
        drop(self.notes.take());
        let _ = self.process.wait();
    }

    fn note(&mut self, note: &Note) -> Result<(), Error> {
        let mut line = serde_json::to_vec(note).expect("notes are plain data");
        line.push(b'\n');
        let pipe = self.notes.as_mut().expect("notes are taken by goodbye only");
        pipe.write_all(&line).map_err(|error| Error::Answer {
            from: "guard",
            problem: format!("it does not listen any more: {error}"),
        })
    }
}

/// The guard's whole life, in the process that [`Guard::start`] made: reads notes until the pipe closes, cleans
/// unless there was a goodbye. Gives a line for everything that could not be cleaned.
pub fn watch(notes: impl BufRead, mut ready: impl Write) -> Vec<String> {
    // out of the terminal's foreground group, so that Ctrl-C does not end the guard before the harness
    let _ = rustix::process::setsid();
    if writeln!(ready, "{READY}").and_then(|()| ready.flush()).is_err() {
        return Vec::new();
    }
    let mut left = Left::default();
    for line in notes.lines() {
        let Ok(line) = line else { break };
        match serde_json::from_str(&line) {
            Ok(Note::Mark { mark }) => left.marks.push(mark),
            Ok(Note::Groups { footprint }) => left.groups.push(footprint),
            Ok(Note::Directory { path }) => drop(left.directories.insert(path)),
            Ok(Note::Gone { path }) => drop(left.directories.remove(&path)),
            Ok(Note::Goodbye) => return Vec::new(),
            // half a line: the harness died while it wrote; it had not made what it was about to name
            Err(_) => break,
        }
    }
    left.clean()
}

#[derive(Default)]
struct Left {
    marks: Vec<String>,
    groups: Vec<Footprint>,
    directories: BTreeSet<PathBuf>,
}

impl Left {
    fn clean(self) -> Vec<String> {
        let mut problems = Vec::new();
        let own = rustix::process::getpid();
        for groups in &self.groups {
            problems.extend(groups.erase(&[own]));
        }
        for mark in &self.marks {
            if !process::kill_marked(mark, KILL_ROUNDS) {
                problems.push(format!("processes with the mark {mark} do not end although killed"));
            }
        }
        for path in &self.directories {
            match std::fs::remove_dir_all(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    problems.push(format!("{} is left behind: {error}", path.display()));
                }
                _ => {}
            }
        }
        problems
    }
}
