//! The message itself, and the replies after it.

use super::ending::decision;
use super::options::Protocol;
use super::session::{Session, State};
use super::{Cause, HopStatus, RecipientStatus};
use crate::reply::ParsedReply;
use crate::stage::Stage;
use crate::status::Severity;
use std::time::Instant;

impl Session {
    /// A piece of the message, after [`Event::SendBody`](super::Event::SendBody): appended to `out` dot-stuffed. Nothing is appended if
    /// the session ended in the meantime, which the next event says.
    pub fn send_body(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        if matches!(self.state, State::Body { .. }) {
            self.stuffer.stuff(chunk, out);
        }
    }

    /// The message is complete: appends the final dot.
    pub fn finish_body(&mut self, now: Instant, out: &mut Vec<u8>) {
        if matches!(self.state, State::Body { .. }) {
            self.stuffer.finish(out);
            self.state = State::Dot;
            self.await_until(now, self.options.timeouts.data_end);
        }
    }

    /// Body bytes were written to the connection: restarts the data-block timeout.
    pub fn wrote(&mut self, now: Instant) {
        if matches!(self.state, State::Body { .. }) {
            self.deadline = Some(now + self.options.timeouts.data_block);
        }
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

    /// A reply to the final dot.
    pub(super) fn take_final(&mut self, reply: ParsedReply<'_>, now: Instant) {
        let Some(status) = decision(Stage::Dot, &reply) else {
            return self.break_off("3xx as the reply to the final dot");
        };
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
