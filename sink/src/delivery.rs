//! One delivery as a site sees it: from the accepted connection, or from MAIL for a later transaction on the same
//! session, to the reply to the final dot.

use crate::message_id::MessageId;
use smtp::Stage;

/// A delivery that is in flight.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub start_ns: u64,
    /// The message's, once its header section has come.
    pub id: Option<MessageId>,
    /// MAIL has come: the next one, RSET or EHLO ends this delivery.
    pub mail_seen: bool,
    /// When its stages were answered; kept only for a trace.
    pub times: Option<Box<Times>>,
}

impl Delivery {
    /// A delivery that starts now.
    pub fn new(start_ns: u64, traced: bool) -> Delivery {
        Delivery { start_ns, id: None, mail_seen: false, times: traced.then(Box::default) }
    }

    /// A reply at `stage` was given.
    pub fn answered(&mut self, stage: Stage, now_ns: u64) {
        if let Some(times) = &mut self.times {
            times.set(stage, now_ns.saturating_sub(self.start_ns));
        }
    }
}

/// When stages were answered last, in microseconds since the delivery's start; what comes after more than an hour is
/// told as [`Times::LATEST_US`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times([u32; Times::STAGES.len()]);

impl Times {
    /// The stages that are told.
    pub const STAGES: [Stage; 9] = [
        Stage::Banner,
        Stage::Ehlo,
        Stage::StartTls,
        Stage::Handshake,
        Stage::Auth,
        Stage::Mail,
        Stage::Rcpt,
        Stage::Data,
        Stage::Body,
    ];

    pub const LATEST_US: u32 = u32::MAX;

    /// At a place of [`Times::STAGES`]; `None`: the stage was not passed.
    pub fn us(&self, place: usize) -> Option<u32> {
        Some(self.0[place]).filter(|&us| us > 0)
    }

    fn set(&mut self, stage: Stage, after_ns: u64) {
        if let Some(place) = Times::STAGES.iter().position(|&one| one == stage) {
            self.0[place] = u32::try_from((after_ns / 1000).max(1)).unwrap_or(Times::LATEST_US);
        }
    }
}

/// The end of a delivery that got a reply to its dot, or was to get one.
#[derive(Debug, Clone)]
pub struct Answered {
    pub delivery: Delivery,
    /// The message is ours now: it may not come again.
    pub accepted: bool,
    /// Of the reply to the dot as it was said; 0: none that can be read.
    pub code: u16,
    /// Content as received, dots removed.
    pub size_bytes: u64,
    /// The content has a CR or LF on its own.
    pub bare_newline: bool,
}
