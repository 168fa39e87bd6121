//! The load generator: sends messages to an SMTP server over many connections and says how long each stage took.
//!
//! One thread, one task for each connection. It must not know what the server is or how its mail is checked later: each
//! message carries an id, and sinks count those.
//!
//! | module | for |
//! |---|---|
//! | [`message`] | what is sent |
//! | [`schedule`] | which message is next, and from when its latency counts |
//! | [`driver`] | a whole run, from options to report |
//! | `slot`, `connection`, `deadline`, `source` | one connection after another, its bytes, its timer, its address |
//! | `backoff` | patience with a server that turns us away |
//! | [`statistics`], [`report`] | what happened, counted and told |
//! | [`progress`] | what is seen meanwhile |
//! | [`distribution`] | quantities that differ from message to message |
//! | `run`, `clock`, `descriptors` | what connections share; clocks; room for sockets |

mod backoff;
mod clock;
mod connection;
mod deadline;
mod descriptors;
pub mod distribution;
pub mod driver;
pub mod message;
pub mod progress;
pub mod report;
mod run;
pub mod schedule;
mod slot;
mod source;
pub mod statistics;

pub use driver::{Error, Options, run};
