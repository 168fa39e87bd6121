//! How transactions and sessions end: the one place where a transaction is forgotten, and where a session closes.

use super::session::{QUIT, Session, State};
use super::{Cause, HopStatus, Outcome, RecipientStatus};
use crate::reply::{ParsedReply, one_line};
use crate::stage::Stage;
use crate::status::{EnhancedStatus, Severity};
use std::time::Instant;

/// What a reply decides about a recipient, `None` for 3xx, which decides nothing.
pub(super) fn decision(stage: Stage, reply: &ParsedReply<'_>) -> Option<RecipientStatus> {
    match reply.code.severity() {
        Severity::Intermediate => None,
        Severity::Completion | Severity::Transient | Severity::Permanent => {
            Some(RecipientStatus::from_reply(stage, reply))
        }
    }
}

impl Session {
    /// The connection ended: end of file, or an error that `reason` names. The events that follow from it come
    /// from `next` with no input. Give all that was read before to `next` first.
    pub fn closed(&mut self, _now: Instant, reason: &str) {
        let stage = self.stage();
        let cause = match self.state {
            State::Closed => return,
            State::Quit { .. } => Cause::Quit,
            State::Dot => Cause::LostAfterFinalDot,
            State::Greeting
            | State::Hello { .. }
            | State::StartTls
            | State::Handshake { .. }
            | State::Auth { .. } => Cause::PeerClosed { stage },
            State::Idle | State::Envelope | State::Body { .. } | State::LoneDot => {
                Cause::PeerClosed { stage }
            }
        };
        let text = match self.state {
            State::Dot => format!("connection lost after the final dot, perhaps delivered: {reason}"),
            _ => format!("connection lost in stage {stage}: {reason}"),
        };
        self.fail(&RecipientStatus::ours(stage, BAD_CONNECTION, &text), HopStatus::Throttle, cause);
    }

    /// The time is `now`: if the deadline has passed, the session is over, and `next` with no input tells.
    pub fn expire(&mut self, now: Instant) {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        let stage = self.stage();
        let waited_s = now.saturating_duration_since(self.since).as_secs();
        let text = match self.state {
            State::Dot => format!("no reply to the final dot within {waited_s} s, perhaps delivered"),
            _ => format!("timeout in stage {stage} after {waited_s} s"),
        };
        self.fail(
            &RecipientStatus::ours(stage, BAD_CONNECTION, &text),
            HopStatus::Throttle,
            Cause::Timeout { stage },
        );
    }

    /// The message cannot be completed: its recipients are deferred and the session is over. The driver must
    /// drop the connection without writing anything more.
    pub fn abandon_body(&mut self, reason: &str, _now: Instant) {
        if self.state == State::Closed {
            return;
        }
        let stage = self.stage();
        let cause = Cause::Abandoned { stage, reason: reason.to_owned() };
        self.fail(&RecipientStatus::ours(stage, OUR_SYSTEM, reason), HopStatus::Up, cause);
    }

    /// The server broke the protocol.
    pub(super) fn break_off(&mut self, error: &str) {
        let stage = self.stage();
        let status =
            RecipientStatus::ours(stage, PROTOCOL, &format!("protocol error in stage {stage}: {error}"));
        self.fail(&status, HopStatus::Throttle, Cause::Protocol { stage, error: error.to_owned() });
    }

    /// The server refused the session with a reply, which decides for all who have no status yet.
    pub(super) fn refused(&mut self, stage: Stage, reply: ParsedReply<'_>) {
        let status = RecipientStatus::from_reply(stage, &reply);
        self.fail(&status, HopStatus::Throttle, Cause::Refused { stage, reply: reply.into_reply() });
    }

    /// The server refused with a reply what we require of it. That is between it and us: nobody is bounced for it,
    /// whatever the reply says.
    pub(super) fn refused_to_us(&mut self, stage: Stage, reply: ParsedReply<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(QUIT);
        let status = RecipientStatus::ours(stage, SECURITY, &reply.text);
        let status = RecipientStatus { code: Some(reply.code), ..status };
        self.fail(&status, HopStatus::Throttle, Cause::Refused { stage, reply: reply.into_reply() });
    }

    /// The server does not have what we require of it.
    pub(super) fn unusable(&mut self, stage: Stage, enhanced: EnhancedStatus, reason: &str) {
        let status = RecipientStatus::ours(stage, enhanced, reason);
        self.fail(&status, HopStatus::Throttle, Cause::Unusable { stage, reason: one_line(reason) });
    }

    /// Ends the transaction under way and leaves the session idle. `rest` is for recipients without a status of
    /// their own.
    pub(super) fn finish(&mut self, rest: Option<RecipientStatus>) {
        // Without `rest` each has one; should that ever be wrong, mail is tried again rather than lost.
        let rest = rest.unwrap_or_else(|| RecipientStatus::ours(self.stage(), OUR_SYSTEM, "no status"));
        self.end_transaction(&rest, HopStatus::Up);
        self.state = State::Idle;
        self.deadline = None;
    }

    /// Ends the transaction, if there is one, and the session.
    pub(super) fn fail(&mut self, rest: &RecipientStatus, hop: HopStatus, cause: Cause) {
        self.end_transaction(rest, hop);
        self.close(cause);
    }

    /// Nothing more is sent or heard.
    pub(super) fn close(&mut self, cause: Cause) {
        self.state = State::Closed;
        self.deadline = None;
        self.cause = Some(cause);
    }

    /// A transaction that was begun when it was too late.
    pub(super) fn defer_after_end(&mut self) {
        let status = RecipientStatus::ours(Stage::Mail, BAD_CONNECTION, "the session was over");
        self.end_transaction(&status, HopStatus::Throttle);
    }

    /// Forgets the transaction; the only place that does.
    fn end_transaction(&mut self, rest: &RecipientStatus, hop: HopStatus) {
        if let Some(envelope) = self.envelope.take() {
            self.done = Some(Outcome { recipients: envelope.statuses(rest), hop });
        }
    }
}

/// RFC 3463 §3.5, X.4.2: bad connection.
const BAD_CONNECTION: EnhancedStatus = EnhancedStatus::new(4, 4, 2);
/// RFC 3463 §3.6, X.5.0: other or undefined protocol status.
const PROTOCOL: EnhancedStatus = EnhancedStatus::new(4, 5, 0);
/// RFC 3463 §3.8, X.7.0: other or undefined security status.
const SECURITY: EnhancedStatus = EnhancedStatus::new(4, 7, 0);
/// RFC 3463 §3.4, X.3.0: other or undefined mail system status.
pub(super) const OUR_SYSTEM: EnhancedStatus = EnhancedStatus::new(4, 3, 0);
