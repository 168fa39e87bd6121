//! One delivery as a site sees it: from the accepted connection, or from MAIL for a later transaction on the same
//! session, to the reply to the final dot.

use crate::message_id::MessageId;

/// A delivery that is in flight.
#[derive(Debug, Clone, Copy)]
pub struct Delivery {
    pub start_ns: u64,
    /// The message's, once its header section has come.
    pub id: Option<MessageId>,
    /// MAIL has come: the next one, RSET or EHLO ends this delivery.
    pub mail_seen: bool,
}

impl Delivery {
    /// A delivery that starts now.
    pub fn new(start_ns: u64) -> Delivery {
        Delivery { start_ns, id: None, mail_seen: false }
    }
}

/// The end of a delivery that got a reply to its dot.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    pub delivery: Delivery,
    /// Of the reply to the dot.
    pub code: u16,
    /// Content as received, dots removed.
    pub size_bytes: u64,
    /// The content has a CR or LF on its own.
    pub bare_newline: bool,
}

impl Answered {
    /// The message is ours now: it may not come again.
    pub fn accepted(&self) -> bool {
        self.code / 100 == 2
    }
}
