//! The delivery agent of the process architectures: one connection at a time, blocking, nothing else in it.
//!
//! Its memory is what the rig measures, so it has no runtime, no second thread, no configuration parser and
//! no serde; tests of the workspace hold its dependencies to a list. It opens no file: a message comes inside
//! the request or as a descriptor that reaches only that message.

mod blocking;
mod connection;
mod requests;

pub use blocking::run;
