//! The four ways in which a stage or a message ends.

use smtp::client::{Disposition, RecipientStatus};
use smtp::{ReplyCode, Severity};

/// How a stage or a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// Answered as hoped: 2xx or 3xx.
    Ok,
    /// Turned away for now: 4xx.
    Deferred,
    /// Turned away for good: 5xx.
    Refused,
    /// No answer: the connection was lost, the time was up, or the answer was not SMTP.
    Failed,
}

impl Ending {
    pub const ALL: [Ending; 4] = [Ending::Ok, Ending::Deferred, Ending::Refused, Ending::Failed];

    /// The name in tables and files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Ending::Ok => "ok",
            Ending::Deferred => "deferred",
            Ending::Refused => "refused",
            Ending::Failed => "failed",
        }
    }

    /// What a reply says.
    pub fn of_code(code: ReplyCode) -> Ending {
        match code.severity() {
            Severity::Completion | Severity::Intermediate => Ending::Ok,
            Severity::Transient => Ending::Deferred,
            Severity::Permanent => Ending::Refused,
        }
    }

    /// What its recipients' fates make of a message: accepted for one is accepted; the mildest word else.
    pub fn of_message(recipients: &[RecipientStatus]) -> Ending {
        let any = |wanted: fn(&RecipientStatus) -> bool| recipients.iter().any(wanted);
        if any(|status| status.disposition == Disposition::Delivered) {
            Ending::Ok
        } else if any(|status| status.disposition == Disposition::Deferred && status.code.is_none()) {
            Ending::Failed
        } else if any(|status| status.disposition == Disposition::Deferred) {
            Ending::Deferred
        } else {
            Ending::Refused
        }
    }
}
