//! The load generator: sends messages to an SMTP server over many connections and says how long each stage took.
//!
//! One thread, one task for each connection. It must not know what the server is or how its mail is checked later: each
//! message carries an id, and sinks count those.
//!
//! | module | for |
//! |---|---|
//! | [`message`] | what is sent, and to whom |
//! | [`schedule`] | which message is next, and from when its latency counts |
//! | [`options`], [`driver`] | a whole run, from options to report |
//! | `rehearsal` | what a run would say |
//! | [`capacity`] | the search for the highest rate that holds |
//! | [`shards`] | one load from several processes |
//! | `dispatch` | gives each message of the open loop to a connection when it is due |
//! | [`session`] | one connection after another, its bytes, its timer, its address |
//! | [`statistics`], [`report`] | what happened, counted and told |
//! | [`watch`], [`progress`], [`record`] | who is told meanwhile: people, and files |
//! | `run`, `clock`, `signals`, `descriptors` | what connections share; clocks; stopping; room for sockets |

pub mod capacity;
mod clock;
mod descriptors;
mod dispatch;
pub mod driver;
pub mod message;
pub mod options;
pub mod progress;
pub mod record;
mod rehearsal;
pub mod report;
mod run;
pub mod schedule;
pub mod session;
pub mod shards;
mod signals;
pub mod statistics;
pub mod watch;

pub use driver::{check, measure, run};
pub use options::{Error, Options};
pub use rehearsal::rehearse;
