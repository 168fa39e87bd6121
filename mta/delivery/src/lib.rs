//! What a delivery is: the values that queue manager, spool, scheduler and delivery agents share, and
//! how they travel over a UNIX socket.
//!
//! Holds no I/O, no clock and no policy. Everything read from a socket is bounded and checked here, so
//! that a confused or hostile process at the other end can hurt no more than its own delivery.

mod advance;
mod envelope;
mod intake;
mod options;
mod queue_id;
mod received;
mod rehearse;
mod report;
mod request;
pub mod wire;

pub use advance::{Step, advance};
pub use envelope::{Envelope, EpochMs, RecipientState};
pub use intake::{CREDIT_BYTES, IntakeAnswer, IntakeFrame, MAX_CHUNK_BYTES};
pub use options::AgentOptions;
pub use queue_id::{BadQueueId, QueueId};
pub use received::{BODY_PIECE_BYTES, Received};
pub use rehearse::rehearse;
pub use report::{AgentFrame, DeliveryReport, StageTimes};
pub use request::{
    Content, ContentAnswer, DeliveryRequest, INLINE_CONTENT_BYTES, MAX_RECIPIENTS_PER_REQUEST, NextHop,
};
