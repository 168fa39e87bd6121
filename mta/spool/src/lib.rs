//! The spool: where a message is kept from its 250 until every recipient is delivered or bounced.
//!
//! [`Spool`] is the promise; [`files`] keeps it with one file a message. A spool knows envelopes, contents and
//! what became of each recipient. It must not know the network, routes, delivery agents or the scheduler, and
//! it reads no clock. Only the queue manager opens it.
//!
//! What is promised, with [`Durability::Full`]: a message that was committed survives the end of the process at
//! any moment and the loss of power. What is not: that a recipient is marked at the moment the mark was asked
//! for. A mark lost with the power means a second delivery, never a lost one.

mod error;
pub mod files;
mod incoming;
mod message;

pub use error::{Damage, SpoolError};
pub use incoming::Incoming;

use delivery::{Envelope, EpochMs, QueueId, RecipientState};
use std::fs::File;
use std::path::PathBuf;

/// Up to this size a message is kept in memory while it comes in, and handed out as bytes.
pub const INLINE_CONTENT_BYTES: usize = delivery::INLINE_CONTENT_BYTES;

/// A message has at least one recipient and at most this many: `mark` names them in 16 bits.
pub const MAX_RECIPIENTS: usize = 65_535;

/// Whether `commit` waits for the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// On stable storage, content and name, before `commit` returns.
    Full,
    /// Handed to the kernel: survives the process, not the power.
    None,
}

/// The queue on disk. Shared by the queue manager's loop and its sync threads: all calls may come at once, from
/// any thread.
pub trait Spool: Send + Sync {
    /// Starts to receive a message. Nothing is kept of it before `commit`.
    fn begin(&self, envelope: Envelope) -> Result<Incoming, SpoolError>;

    /// On return the message is kept under its id, as durable as the spool was opened. After an error nothing is
    /// left of it.
    fn commit(&self, incoming: Incoming) -> Result<QueueId, SpoolError>;

    fn load(&self, id: QueueId) -> Result<Stored, SpoolError>;

    /// The content, with its checksum checked.
    fn content(&self, id: QueueId) -> Result<Content, SpoolError>;

    /// Remembers what became of recipients (index in the envelope, state). Not synced.
    fn mark(&self, id: QueueId, marks: &[(u16, RecipientState)]) -> Result<(), SpoolError>;

    /// Remembers how often delivery was tried and when it is to be tried again. Not synced.
    fn defer(&self, id: QueueId, attempts: u16, due: EpochMs) -> Result<(), SpoolError>;

    /// Forgets the message: every recipient is delivered or bounced. Not synced.
    fn remove(&self, id: QueueId) -> Result<(), SpoolError>;

    /// To be called once, before anything else: gives every committed message that has a pending recipient,
    /// removes what was half written, and puts aside what is damaged. One damaged message costs no other.
    fn recover(&self, each: &mut dyn FnMut(QueueId, Stored)) -> Result<Recovery, SpoolError>;

    /// What the file system still has for us.
    fn free_bytes(&self) -> Result<u64, SpoolError>;
}

/// All that is kept of a message but its content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    pub envelope: Envelope,
    /// One for each recipient of the envelope, in its order.
    pub states: Vec<RecipientState>,
    pub attempts: u16,
    pub due: EpochMs,
    pub content_bytes: u64,
}

/// The content of a message: CRLF line ends, not dot-stuffed.
#[derive(Debug)]
pub enum Content {
    /// Up to [`INLINE_CONTENT_BYTES`].
    Inline(Vec<u8>),
    /// Read-only, and reaches this one message. The content is `length` bytes from `offset`, where it stands.
    File { file: File, offset: u64, length: u64 },
}

/// What `recover` found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recovery {
    /// Given to the caller.
    pub messages: u64,
    /// Removed: their 250 was never sent.
    pub half_written: u64,
    /// Removed: every recipient was final.
    pub finished: u64,
    /// Given to the caller as due at once, because their schedule was damaged.
    pub rescheduled: u64,
    pub quarantined: Vec<Quarantined>,
}

/// A file that is not the message it should be. It was moved, not changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quarantined {
    /// Ends in the name that it had, which is its queue id unless that was the damage.
    pub moved_to: PathBuf,
    pub damage: Damage,
}
