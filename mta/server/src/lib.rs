//! Reception: speaks SMTP with the world and hands every message to the queue manager.
//!
//! The same for all delivery architectures (tokio, one thread). It writes no file: a message goes over a
//! socket in chunks, and only when the queue manager says that it is durable does the client get its 250.

mod handover;
mod header;
mod listen;
mod session;

pub use listen::run;

use std::sync::Arc;

/// What reception is told when it starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our host name: in the greeting and in Received.
    pub hostname: Arc<str>,
    pub max_message_bytes: u64,
    /// Sessions at a time; the next one gets 421.
    pub max_sessions: usize,
}
