//! The delivery agents of blocking system calls: one connection a process, or one a thread.
//!
//! Their memory is what the rig measures, so they have no runtime, no configuration parser and no serde; tests of
//! the workspace hold the dependencies to a list. They open no file: a message comes inside the request or as a
//! descriptor that reaches only that message.

pub mod blocking;
mod connection;
mod deliver;
mod requests;
mod seats;
mod socket;
pub mod threads;
