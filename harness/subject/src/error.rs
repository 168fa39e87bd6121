//! Why a step of a trial did not work.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug)]
pub enum Error {
    /// A file, directory or socket could not be used.
    Io { doing: &'static str, path: PathBuf, error: std::io::Error },
    /// A child would not start.
    Spawn { name: &'static str, error: std::io::Error },
    /// A child ended when it was still needed; `log` holds the last lines that it wrote.
    Ended { name: &'static str, status: String, log: String },
    /// Something that was waited for did not come in time.
    Late { waiting_for: String, bound: Duration, log: String },
    /// The control socket or a child's output said something that this program does not understand.
    Answer { from: &'static str, problem: String },
    /// The operator asked to stop.
    Interrupted,
}

impl Error {
    pub fn io(doing: &'static str, path: impl Into<PathBuf>, error: std::io::Error) -> Error {
        Error::Io { doing, path: path.into(), error }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { doing, path, error } => write!(out, "{doing} {}: {error}", path.display()),
            Error::Spawn { name, error } => write!(out, "starting the {name}: {error}"),
            Error::Ended { name, status, log } => {
                write!(out, "the {name} ended early ({status})")?;
                last_lines(out, log)
            }
            Error::Late { waiting_for, bound, log } => {
                write!(out, "waited {:.1} s for {waiting_for} in vain", bound.as_secs_f64())?;
                last_lines(out, log)
            }
            Error::Answer { from, problem } => write!(out, "unexpected answer from the {from}: {problem}"),
            Error::Interrupted => out.write_str("interrupted"),
        }
    }
}

fn last_lines(out: &mut fmt::Formatter<'_>, log: &str) -> fmt::Result {
    if log.is_empty() {
        out.write_str("; it logged nothing")
    } else {
        write!(out, "; its last lines:\n{log}")
    }
}

impl std::error::Error for Error {}
