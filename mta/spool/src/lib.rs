//! The spool: where a message is kept from its 250 until every recipient is delivered or bounced.
//!
//! [`Spool`] is the promise; [`segments`] keeps it with many messages in a file and one sync for all that wait,
//! [`files`] with one file a message, as Postfix does. A spool knows envelopes, contents and
//! what became of each recipient. It must not know the network, routes, delivery agents or the scheduler, and
//! it reads no clock. Only the queue manager opens it.
//!
//! What is promised, with [`Durability::Full`]: a message that was committed survives the end of the process at
//! any moment and the loss of power. What is not: that a recipient is marked at the moment the mark was asked
//! for. A mark lost with the power means a second delivery, never a lost one.

pub mod disk;
mod error;
pub mod files;
mod incoming;
mod message;
pub mod segments;

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

/// A change of the queue on disk.
#[derive(Debug)]
pub enum Change {
    /// Keep a received message, as durable as the spool was opened. After an error nothing is left of it.
    Commit(Incoming),
    /// Remember what became of recipients, and when it goes on. The change that is asked for last counts.
    Update { id: QueueId, status: Status },
    /// Forget the message: every recipient is delivered or bounced.
    Remove { id: QueueId },
}

/// The queue on disk. Shared by the queue manager's loop and its writer threads: all calls may come at once, from
/// any thread; changes of one message come in their order.
pub trait Spool: Send + Sync {
    /// Starts to receive a message. Nothing is kept of it before its commit.
    fn begin(&self, envelope: Envelope) -> Result<Incoming, SpoolError>;

    /// Makes changes, all at once where the store can: on return every commit among them is durable or refused.
    /// Gives one result for each, in their order; it has the id of what was changed. Marks and removals may be
    /// durable only after [`Spool::sync`].
    fn apply(&self, changes: Vec<Change>) -> Vec<Result<QueueId, SpoolError>>;

    /// How many threads can make changes at a time, to advantage.
    fn writers(&self) -> usize;

    /// A recipient or a message became final, and that is not on stable storage.
    fn awaits_sync(&self) -> bool;

    /// Ends what [`Spool::awaits_sync`] tells of.
    fn sync(&self) -> Result<(), SpoolError>;

    /// A bounded piece of upkeep, such as giving space back; true when there is more to do.
    fn tend(&self) -> Result<bool, SpoolError>;

    /// What is kept of a message but its content. The schedule in it may be an older one.
    fn load(&self, id: QueueId) -> Result<Stored, SpoolError>;

    /// The content, with its checksum checked.
    fn content(&self, id: QueueId) -> Result<Content, SpoolError>;

    /// Up to `count` ids of queued messages, in their order, behind `after`.
    fn ids_after(&self, after: Option<QueueId>, count: usize) -> Vec<QueueId>;

    /// To be called once, before anything else: gives every committed message that has a pending recipient,
    /// removes what was half written, and puts aside what is damaged. One damaged message costs no other.
    fn recover(&self, each: &mut dyn FnMut(QueueId, Stored)) -> Result<Recovery, SpoolError>;

    /// What the file system still has for us, with what [`Spool::tend`] gives back when space is short.
    fn free_bytes(&self) -> Result<u64, SpoolError>;

    /// Space is short from there on that less than this is free, and what is kept for later goes. A store that keeps
    /// nothing for later need not know.
    fn keep_free(&self, _min_bytes: u64) {}

    /// [`Change::Commit`] alone.
    fn commit(&self, incoming: Incoming) -> Result<QueueId, SpoolError> {
        self.apply(vec![Change::Commit(incoming)]).pop().expect("a result for each change")
    }

    /// [`Change::Update`] alone.
    fn update(&self, id: QueueId, status: Status) -> Result<QueueId, SpoolError> {
        self.apply(vec![Change::Update { id, status }]).pop().expect("a result for each change")
    }

    /// [`Change::Remove`] alone.
    fn remove(&self, id: QueueId) -> Result<QueueId, SpoolError> {
        self.apply(vec![Change::Remove { id }]).pop().expect("a result for each change")
    }
}

/// What changes of a queued message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// One for each recipient of the envelope, in its order.
    pub states: Vec<RecipientState>,
    pub attempts: u16,
    pub due: EpochMs,
    /// By the operator: not to be delivered until released.
    pub held: bool,
}

impl Status {
    pub fn is_final(&self) -> bool {
        self.states.iter().all(|state| *state != RecipientState::Pending)
    }
}

/// All that is kept of a message but its content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    pub envelope: Envelope,
    pub status: Status,
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
    /// Files that did not have to be read, since a summary says what is in them.
    pub summaries: u64,
    pub quarantined: Vec<Quarantined>,
}

/// A file that is not the message it should be. It was moved, not changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quarantined {
    /// Ends in the name that it had, which is its queue id unless that was the damage.
    pub moved_to: PathBuf,
    pub damage: Damage,
}
