//! What a run is told, and why it can't start.
//!
//! Each part takes a small struct of its own; what concerns the whole stands here.

use crate::schedule::Plan;
use crate::session::endpoint::Endpoint;
use crate::{message, session};
use std::net::IpAddr;
use std::process::ExitStatus;
use std::time::Duration;
use std::{fmt, io};

/// What to send where, when and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server: on this host, or on `own_host`.
    pub target: Endpoint,
    /// Another host that its owner wants to be loaded.
    pub own_host: Option<IpAddr>,
    /// Messages a second beyond which a rate is taken for a mistake.
    pub rate_max: f64,
    /// When messages start, and how many.
    pub plan: Plan,
    /// Connections at a time: in the closed loop so many, in the open loop at most so many.
    pub connections: u32,
    pub session: session::Options,
    pub message: message::Options,
    /// When to begin, CLOCK_MONOTONIC; none: at once.
    pub start_ns: Option<u64>,
    /// All chance follows from it.
    pub seed: u64,
    /// The run is invalid if the generator's own lag is longer in more than a hundredth of the cases.
    pub lag_max: Duration,
}

/// Beyond what mail servers take, and within what a typing error asks for.
pub const RATE_MAX: f64 = 20_000.0;

/// Why a run could not start.
#[derive(Debug)]
pub enum Error {
    /// The target is another host, and nobody said that it is ours.
    NotOurs(Endpoint),
    /// More messages a second than allowed.
    RateMax { rate: f64, rate_max: f64 },
    /// An option has a value that can't be.
    Option { name: &'static str, problem: String },
    /// This process may not open as many descriptors.
    Descriptors { connections: u32, limit: u64 },
    /// The runtime, a signal handler or a process could not be made.
    Runtime(io::Error),
    /// One of the processes that share the load died.
    Shard { index: u32, status: ExitStatus },
}

impl Error {
    /// An option's value that can't be, and why.
    pub fn option(name: &'static str, problem: impl Into<String>) -> Error {
        Error::Option { name, problem: problem.into() }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::Descriptors { .. } => {
                Some("raise the hard limit (ulimit -Hn) or ask for fewer connections")
            }
            Error::NotOurs(_) => Some("if it is yours to load, say so: --i-own-this-host and its address"),
            Error::RateMax { .. } => Some("raise it on purpose: --max-rate"),
            Error::Option { .. } | Error::Runtime(_) | Error::Shard { .. } => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotOurs(target) => {
                write!(
                    f,
                    "refusing to load {target}: it is another host (127.0.0.0/8, ::1 and UNIX sockets are not)"
                )
            }
            Error::RateMax { rate, rate_max } => {
                write!(f, "{rate}/s is more than the {rate_max}/s that are allowed")
            }
            Error::Option { name, problem } => write!(f, "{name}: {problem}"),
            Error::Descriptors { connections, limit } => {
                write!(
                    f,
                    "{connections} connections need more than the {limit} descriptors this process may open"
                )
            }
            Error::Shard { index, status } => write!(f, "shard {index} of the load ended with {status}"),
            Error::Runtime(error) => write!(f, "starting the load: {error}"),
        }
    }
}

impl std::error::Error for Error {}
