//! The event driver: one thread, one small task a connection, thousands of them.
//!
//! Speaks the same agent protocol and runs the same session state machine as the blocking driver, which it
//! does not know; what differs is how it waits. Buffers are shared by all connections of the loop and held by
//! one only while its bytes move.

mod buffers;
mod connection;
mod idle;
mod outbox;
mod parcel;
mod patience;
mod queue_link;

pub use queue_link::run;
