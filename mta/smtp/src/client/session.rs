//! The state machine of a client session.

use super::{Cause, Extensions, Options, Outcome, Transaction};
use crate::stage::Stage;
use crate::status::ReplyCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A reply to a command of ours; `elapsed` since the command was written ([`Stage::Banner`]: since
    /// [`Session::new`]).
    Reply { stage: Stage, code: ReplyCode, elapsed: Duration },
    /// Feed the body: [`Session::send_body`] any number of times, then [`Session::finish_body`].
    SendBody,
    /// The transaction is over. Unless the session is closed, [`Session::begin`] may be called again.
    Done(Outcome),
    /// The session is over: drop the connection. Comes once, after the `Done` of a transaction under way.
    Closed(Cause),
}

/// One connection to a server, seen from the sending side.
#[derive(Debug)]
pub struct Session {
    options: Arc<Options>,
    extensions: Extensions,
}

impl Session {
    /// A connection that was just established; the greeting is awaited.
    pub fn new(options: Arc<Options>, now: Instant) -> Session {
        todo!("{options:?} {now:?}")
    }

    /// Starts a transaction, or keeps it until the session is ready. Allowed whenever none is under way; on a
    /// session that is over, its `Done` defers everybody.
    pub fn begin(&mut self, transaction: Transaction, now: Instant, out: &mut Vec<u8>) {
        todo!("{transaction:?} {now:?} {out:?}")
    }

    /// Takes bytes from the server; returns how many are done with and what happened. Call it again with the
    /// rest until it returns `None`, which asks for more input. Bytes for the server are appended to `out`.
    pub fn next(&mut self, input: &[u8], now: Instant, out: &mut Vec<u8>) -> (usize, Option<Event>) {
        todo!("{input:?} {now:?} {out:?}")
    }

    /// A piece of the message, after [`Event::SendBody`]: appended to `out` dot-stuffed.
    pub fn send_body(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        todo!("{chunk:?} {out:?}")
    }

    /// The message is complete: appends the final dot.
    pub fn finish_body(&mut self, now: Instant, out: &mut Vec<u8>) {
        todo!("{now:?} {out:?}")
    }

    /// The message cannot be completed: its recipients are deferred and the session is over. The driver must
    /// drop the connection without writing anything more.
    pub fn abandon_body(&mut self, reason: &str, now: Instant) {
        todo!("{reason} {now:?}")
    }

    /// Body bytes were written to the connection: restarts the data-block timeout.
    pub fn wrote(&mut self, now: Instant) {
        todo!("{now:?}")
    }

    /// Appends QUIT. The driver may drop the connection once it is written, or wait for [`Event::Closed`].
    pub fn quit(&mut self, now: Instant, out: &mut Vec<u8>) {
        todo!("{now:?} {out:?}")
    }

    /// The connection ended: end of file, or an error that `reason` names. The events that follow from it come
    /// from `next` with no input. Give all that was read before to `next` first.
    pub fn closed(&mut self, now: Instant, reason: &str) {
        todo!("{now:?} {reason}")
    }

    /// When to call [`Session::expire`]; `None` when nothing is awaited.
    pub fn deadline(&self) -> Option<Instant> {
        todo!()
    }

    /// The time is `now`: if the deadline has passed, the session is over, and `next` with no input tells.
    pub fn expire(&mut self, now: Instant) {
        todo!("{now:?}")
    }

    /// Ready for a transaction right now.
    pub fn is_idle(&self) -> bool {
        todo!("{:?}", self.options)
    }

    /// What the server offered.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }
}
