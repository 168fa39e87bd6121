//! SMTP as values and state machines: bytes and time in, bytes and events out.
//!
//! Both delivery drivers, the MTA's reception, the sinks and the load generator stand on this crate, so
//! that what differs between them is how they wait, never how they speak. It must not know sockets,
//! files, threads, clocks or randomness: the time is always an argument, and whoever moves the bytes is
//! called the *driver* here.
//!
//! | module | for |
//! |---|---|
//! | [`status`] | reply codes and enhanced status codes |
//! | [`reply`] | a reply as a value, writing it, parsing it from a stream |
//! | [`path`] | reverse-path, forward-path, mailbox |
//! | [`command`] | one command line into a value |
//! | [`Protocol`] | SMTP or LMTP |
//! | [`dsn`] | what a sender asks to be told of its mail |
//! | [`stuff`] | dot-stuffing and its opposite; the one place that knows how a message ends |
//! | [`stage`] | the names of the parts of a session |
//! | [`client`] | the session of the side that sends mail |
//! | [`server`] | the session of the side that takes mail |

mod base64;
pub mod client;
pub mod command;
pub mod dsn;
pub mod path;
mod protocol;
pub mod reply;
pub mod server;
pub mod stage;
pub mod status;
pub mod stuff;
mod xtext;

pub use path::{ForwardPath, Mailbox, PathError, ReversePath};
pub use protocol::Protocol;
pub use reply::{Reply, ReplyError};
pub use stage::Stage;
pub use status::{EnhancedStatus, ReplyCode, Severity};
