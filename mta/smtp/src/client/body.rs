//! The message itself, and the replies after it.

use super::ending::{OUR_SYSTEM, decision};
use super::framing::{Framing, Misfit};
use super::session::{Session, State};
use super::{Cause, Disposition, HopStatus, RecipientStatus};
use crate::Protocol;
use crate::reply::ParsedReply;
use crate::stage::Stage;
use crate::status::{EnhancedStatus, Severity};
use std::borrow::Cow;
use std::time::Instant;

impl Session {
    /// A piece of the message, after [`Event::SendBody`](super::Event::SendBody): appended to `out` as it goes on the
    /// wire. Nothing is appended if the session ended in the meantime, which the next event says.
    ///
    /// After BDAT the pieces must be of the promised size in all, with no CR or LF on its own: the server is told the
    /// size before it gets them, so nothing can be mended on the way. Else the session is over, and the driver must drop
    /// the connection.
    ///
    /// A piece that is not needed any more is given as a `Vec`: if it goes on the wire as it is, its memory becomes that of
    /// an empty `out`.
    pub fn send_body<'a>(&mut self, chunk: impl Into<Cow<'a, [u8]>>, out: &mut Vec<u8>) {
        if matches!(self.state, State::Body { .. })
            && let Err(misfit) = self.framing.add(chunk.into(), out)
        {
            self.break_off_body(misfit);
        }
    }

    /// The message is complete: appends its end.
    pub fn finish_body(&mut self, now: Instant, out: &mut Vec<u8>) {
        if !matches!(self.state, State::Body { .. }) {
            return;
        }
        match self.framing.end(out) {
            Ok(()) => {
                self.state = State::Dot;
                self.await_until(now, self.options.timeouts.data_end);
            }
            Err(misfit) => self.break_off_body(misfit),
        }
    }

    /// Body bytes were written to the connection: restarts the data-block timeout.
    pub fn wrote(&mut self, now: Instant) {
        if matches!(self.state, State::Body { .. }) {
            self.deadline = Some(now + self.options.timeouts.data_block);
        }
    }

    /// The body is asked for, to be put through `framing`.
    pub(super) fn start_body(&mut self, framing: Framing, now: Instant) {
        self.framing = framing;
        self.state = State::Body { announced: false };
        self.await_until(now, self.options.timeouts.data_block);
    }

    /// The driver's message is none that BDAT can take, and the server has a part of it.
    fn break_off_body(&mut self, misfit: Misfit) {
        let (enhanced, reason) = match misfit {
            Misfit::Longer => (OUR_SYSTEM, "message is longer than it was said to be"),
            Misfit::Shorter => (OUR_SYSTEM, "message is shorter than it was said to be"),
            Misfit::BareNewline => {
                (MEDIA, "message has a CR or LF on its own, and BDAT would send it as it is")
            }
        };
        let status = RecipientStatus::ours(Stage::Body, enhanced, reason);
        let cause = Cause::Abandoned { stage: Stage::Body, reason: reason.to_owned() };
        self.fail(&status, HopStatus::Up, cause);
    }

    /// A reply before the body was complete. The body cannot be ended without sending it, so neither can the
    /// session go on.
    pub(super) fn take_early(&mut self, reply: ParsedReply<'_>) {
        match reply.code.severity() {
            Severity::Completion | Severity::Intermediate => self.break_off("reply before the final dot"),
            Severity::Transient | Severity::Permanent => {
                let status = RecipientStatus::from_reply(Stage::Body, &reply);
                let cause = Cause::Refused { stage: Stage::Body, reply: reply.into_reply() };
                self.fail(&status, HopStatus::Up, cause);
            }
        }
    }

    /// A reply to the final dot or the last chunk.
    pub(super) fn take_final(&mut self, reply: ParsedReply<'_>, now: Instant) {
        let Some(status) = decision(Stage::Dot, &reply) else {
            return self.break_off("3xx as the reply to the final dot");
        };
        // RFC 5321 §4.1.1.4: the end of data clears everything. RFC 3030 §2: a refused chunk leaves that open.
        self.needs_reset &=
            matches!(self.framing, Framing::Counted(_)) && status.disposition != Disposition::Delivered;
        match self.options.protocol {
            // RFC 5321 §4.1.1.4: it decides for all accepted recipients
            Protocol::Smtp => self.finish(Some(status)),
            // RFC 2033 §4.2: it decides for the next of them, and each has one
            Protocol::Lmtp => {
                match self.envelope.as_mut().is_some_and(|envelope| envelope.decide_next(status)) {
                    true => self.deadline = Some(now + self.options.timeouts.data_end),
                    false => self.finish(None),
                }
            }
        }
    }
}

/// RFC 3463 §3.7, X.6.0: other or undefined media error.
const MEDIA: EnhancedStatus = EnhancedStatus::new(5, 6, 0);
