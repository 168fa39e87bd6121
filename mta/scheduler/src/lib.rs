//! The scheduler: which message goes to which destination, and when.
//!
//! A state machine without I/O. Queued entries and results of deliveries go in, delivery decisions come out;
//! time is passed in, so that the same rules run on the wall clock in the queue manager and on virtual time in
//! a simulation. It must know no clock, file, socket, thread or process, nor what a message says; its only
//! randomness is the jitter of retries, from the seed in [`Limits`].
//!
//! An entry is one message for one destination:
//!
//! ```text
//!              due later                due                window open
//!  enqueue ──▶ waiting (timer) ───────▶ ready (queue) ───▶ active (with an agent) ──▶ gone: finished, expired
//!                 ▲                       ▲                   │    │
//!                 │                       └── put_back ───────┘    │
//!                 └───────────────────────── retry ────────────────┘
//! ```
//!
//! The operator's `hold`, `release`, `requeue`, `flush` and `remove` work in every state.
//!
//! Destinations with ready entries and an open window are served in turn, one entry each (`lanes`); within a destination
//! senders have their turns (`turns`), and a sender's entries go in the order in which they became due. Every step is
//! O(1) (dead destinations and closed gates: O(log) of those), whatever waits: no decision scans the queue.
//! [`Limits::postfix`] has qmgr(8)'s own rules instead, for comparison.

mod active;
mod change;
mod clock;
mod destination;
mod dispatch;
mod entry;
mod feedback;
mod gate;
mod lanes;
mod limits;
mod machine;
mod operator;
mod schedule;
mod turns;
mod view;
mod wheel;
mod window;

pub use feedback::Feedback;
pub use limits::{Limits, Rule, Rules};
pub use machine::Scheduler;
pub use schedule::{Defaults, RETRY_JITTER, Schedule};
pub use view::Standing;

use delivery::{EpochMs, QueueId};
use smtp::client::HopStatus;

/// What one entry takes in memory, its timer included.
pub const ENTRY_BYTES: usize = size_of::<entry::Record>();

/// Names a destination while entries for it are queued, and for 4096 calls of [`Scheduler::destination`] after
/// the one that gave it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct DestinationId(u32);

/// Whose mail it is: entries of one sender wait for one another, those of different senders do not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct SenderId(pub u32);

impl SenderId {
    /// The same for the same reverse-path; two that meet in one number share their turns, which is all that follows.
    pub fn of(reverse_path: &[u8]) -> SenderId {
        // FNV-1a
        SenderId(
            reverse_path
                .iter()
                .fold(0x811C_9DC5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)),
        )
    }
}

/// Names an entry until it is gone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct EntryId {
    index: u32,
    generation: u8,
}

/// One message for one destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    pub id: QueueId,
    pub destination: DestinationId,
    pub sender: SenderId,
    /// When the message was received; its age decides about back-off and expiry.
    pub born: EpochMs,
    /// Not to be delivered before.
    pub due: EpochMs,
    /// Deliveries tried so far.
    pub attempts: u16,
}

#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Deliver this; the entry is active until `report` or `put_back`.
    Deliver(EntryId, QueueId, DestinationId),
    /// Postfix's rules: its destination is dead, and it was deferred until `due` without an attempt.
    Suspended {
        entry: EntryId,
        id: QueueId,
        destination: DestinationId,
        due: EpochMs,
        attempts: u16,
    },
    /// It waited for a dead destination until it was too old; the entry is gone, and the caller bounces it.
    Expired(EntryId, QueueId, DestinationId),
    /// Nothing before this moment, unless a result or a new entry comes first.
    Sleep(EpochMs),
    /// Nothing but a result can change anything.
    Blocked,
    Empty,
}

/// How the delivery of an entry ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    pub outcome: Outcome,
    /// Of the host, not of a recipient: a deferred recipient on a healthy host is `Retry` and `Up`.
    pub hop: HopStatus,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Every recipient is delivered or bounced.
    Finished,
    /// At least one recipient was deferred.
    Retry,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disposition {
    /// The entry is gone (or was removed before).
    Gone,
    /// It waits until `due`. `warn`: the sender is to be told that it is late, this once.
    Retry { due: EpochMs, attempts: u16, warn: bool },
    /// The entry is gone, too old for another attempt: the caller bounces what is still pending.
    Expired,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// With an agent.
    pub active: u64,
    /// May be delivered now.
    pub due: u64,
    /// Waiting for a later time: their own, or the end of a dead destination's rest.
    pub deferred: u64,
    /// Held by the operator (those with an agent count as active until they come back).
    pub held: u64,
}
