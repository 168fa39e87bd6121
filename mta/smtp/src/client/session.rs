//! The face of a client session: what a driver calls, and which part answers.

use super::auth::Answer;
use super::envelope::Envelope;
use super::framing::Framing;
use super::{Cause, Extensions, Options, Outcome, Transaction};
use crate::reply::{ParsedReply, ReplyParser};
use crate::stage::Stage;
use crate::status::{ReplyCode, Severity};
use crate::stuff::DotStuffer;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The reply to a command of ours, the last one for AUTH; `elapsed` since the command was written
    /// ([`Stage::Banner`]: since [`Session::new`]).
    Reply { stage: Stage, code: ReplyCode, elapsed: Duration },
    /// Feed the body: [`Session::send_body`] any number of times, then [`Session::finish_body`].
    SendBody,
    /// The transaction is over. Unless the session is closed, [`Session::begin`] may be called again.
    Done(Outcome),
    /// Write what is in `out`, do the TLS handshake (RFC 3207), then call [`Session::tls_established`] or
    /// [`Session::tls_failed`]. [`Session::deadline`] bounds it; bytes that were read before it began are for
    /// [`Session::next`], which ends the session over them.
    StartTls,
    /// The session is over: write what is in `out` if that is possible at once, and drop the connection. Comes
    /// once, after the `Done` of a transaction under way.
    Closed(Cause),
}

/// One connection to a server, seen from the sending side.
#[derive(Debug)]
pub struct Session {
    pub(super) options: Arc<Options>,
    pub(super) extensions: Extensions,
    pub(super) state: State,
    pub(super) parser: ReplyParser,
    pub(super) framing: Framing,
    /// When the awaited command, or the group it was in, was written.
    pub(super) since: Instant,
    pub(super) deadline: Option<Instant>,
    /// What is said is encrypted.
    pub(super) encrypted: bool,
    /// The transaction under way, or waiting for the session to be ready.
    pub(super) envelope: Option<Envelope>,
    /// The server may remember something of the last transaction.
    pub(super) needs_reset: bool,
    /// Bytes came that nothing asked for: whatever they become, the session cannot be used again.
    pub(super) unsolicited: bool,
    pub(super) done: Option<Outcome>,
    pub(super) cause: Option<Cause>,
}

/// What is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Greeting,
    Hello {
        extended: bool,
    },
    /// The reply to STARTTLS.
    StartTls,
    /// The driver's TLS handshake; `announced` once it knows.
    Handshake {
        announced: bool,
    },
    /// The replies to AUTH.
    Auth {
        next: Answer,
    },
    Idle,
    /// The replies to RSET, MAIL, RCPT and DATA.
    Envelope,
    /// The driver's body; `announced` once it knows.
    Body {
        announced: bool,
    },
    /// The reply to the final dot or the last chunk.
    Dot,
    /// The reply to a dot that ends no message: 354 came although every recipient was refused.
    LoneDot,
    /// The reply to QUIT, after that many others.
    Quit {
        others: u8,
    },
    Closed,
}

impl Session {
    /// A connection that was just established; the greeting is awaited.
    pub fn new(options: Arc<Options>, now: Instant) -> Session {
        let deadline = Some(now + options.timeouts.greeting);
        Session {
            options,
            extensions: Extensions::default(),
            state: State::Greeting,
            parser: ReplyParser::new(),
            framing: Framing::Stuffed(DotStuffer::new()),
            since: now,
            deadline,
            encrypted: false,
            envelope: None,
            needs_reset: false,
            unsolicited: false,
            done: None,
            cause: None,
        }
    }

    /// A connection whose TLS handshake is done already (implicit TLS, RFC 8314 §3.3); the greeting is awaited.
    pub fn over_tls(options: Arc<Options>, now: Instant) -> Session {
        Session { encrypted: true, ..Session::new(options, now) }
    }

    /// Starts a transaction, or keeps it until the session is ready. On a session that is over, its `Done`
    /// defers everybody.
    ///
    /// # Panics
    /// When a transaction is under way, or the last one's `Done` was not taken: a mistake of the driver.
    pub fn begin(&mut self, transaction: Transaction, now: Instant, out: &mut Vec<u8>) {
        assert!(self.envelope.is_none() && self.done.is_none(), "a session has one transaction at a time");
        self.envelope = Some(Envelope::new(transaction));
        match self.state {
            State::Idle if self.unsolicited => self.break_off("unsolicited bytes from the server"),
            State::Idle => self.start_envelope(now, out),
            State::Quit { .. } | State::Closed => self.defer_after_end(),
            State::Greeting | State::Hello { .. } => {}
            State::StartTls | State::Handshake { .. } | State::Auth { .. } => {}
            State::Envelope | State::Body { .. } | State::Dot | State::LoneDot => {
                unreachable!("these states have an envelope")
            }
        }
    }

    /// Takes bytes from the server; returns how many are done with (also when there is no event) and what
    /// happened. Call it again with the rest until it returns `None`, which asks for more input. Bytes for the
    /// server are appended to `out`.
    pub fn next(&mut self, input: &[u8], now: Instant, out: &mut Vec<u8>) -> (usize, Option<Event>) {
        let mut consumed = 0;
        loop {
            let input = &input[consumed..];
            if matches!(self.state, State::Handshake { .. }) && !input.is_empty() {
                self.break_off("bytes from the server before the TLS handshake");
            }
            if let Some(event) = self.waiting_event(input) {
                return (consumed, Some(event));
            }
            if self.state == State::Closed {
                return (consumed + input.len(), None);
            }
            if input.is_empty() {
                return (consumed, None);
            }
            if self.state == State::Idle && !self.unsolicited {
                self.unsolicited = true;
                self.deadline = Some(now + self.options.timeouts.quit);
            }
            let (bytes, reply) = match self.parser.parse(input) {
                Ok((bytes, Some(reply))) => (bytes, reply),
                Ok((bytes, None)) => return (consumed + bytes, None),
                Err(error) => {
                    self.break_off(&error.to_string());
                    continue;
                }
            };
            consumed += bytes;
            if let Some(event) = self.take(reply, now, out) {
                return (consumed, Some(event));
            }
        }
    }

    /// Appends QUIT. The driver may drop the connection once it is written, or wait for [`Event::Closed`]. With a
    /// transaction under way, that is abandoned, and nothing is appended; nor is it from STARTTLS to the end of the
    /// handshake and in AUTH, where no other command can be said.
    pub fn quit(&mut self, now: Instant, out: &mut Vec<u8>) {
        let others = match self.state {
            State::Quit { .. } | State::Closed => return,
            _ if self.envelope.is_some() => {
                return self.abandon_body("the session was ended with a transaction under way", now);
            }
            State::StartTls | State::Handshake { .. } | State::Auth { .. } => {
                return self.close(Cause::Quit);
            }
            State::Greeting | State::Hello { .. } => 1,
            State::Idle | State::Envelope | State::Body { .. } | State::Dot | State::LoneDot => 0,
        };
        out.extend_from_slice(QUIT);
        self.state = State::Quit { others };
        self.await_until(now, self.options.timeouts.quit);
    }

    /// When to call [`Session::expire`]; `None` when nothing is awaited.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Ready for a transaction right now.
    pub fn is_idle(&self) -> bool {
        self.state == State::Idle && self.envelope.is_none() && self.done.is_none() && !self.unsolicited
    }

    /// What the server offered.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// What is awaited, for those who have to say where a session ended.
    pub(super) fn stage(&self) -> Stage {
        match self.state {
            State::Greeting => Stage::Banner,
            State::Hello { .. } => Stage::Ehlo,
            State::StartTls => Stage::StartTls,
            State::Handshake { .. } => Stage::Handshake,
            State::Auth { .. } => Stage::Auth,
            State::Idle => Stage::Mail,
            State::Envelope => self.envelope.as_ref().map_or(Stage::Mail, Envelope::stage),
            State::Body { .. } => Stage::Body,
            State::Dot | State::LoneDot => Stage::Dot,
            State::Quit { .. } | State::Closed => Stage::Quit,
        }
    }

    pub(super) fn await_until(&mut self, now: Instant, timeout: Duration) {
        self.since = now;
        self.deadline = Some(now + timeout);
    }

    /// What is to be told before more input is looked at.
    fn waiting_event(&mut self, input: &[u8]) -> Option<Event> {
        match self.state {
            State::Body { announced: false } => {
                self.state = State::Body { announced: true };
                return Some(Event::SendBody);
            }
            State::Handshake { announced: false } => {
                self.state = State::Handshake { announced: true };
                return Some(Event::StartTls);
            }
            _ => {}
        }
        if let Some(outcome) = self.done.take() {
            // More replies than commands: the driver may begin the next transaction before it gives us the rest.
            self.unsolicited |= self.state == State::Idle && !input.is_empty();
            return Some(Event::Done(outcome));
        }
        self.cause.take().map(Event::Closed)
    }

    /// One whole reply.
    fn take(&mut self, reply: ParsedReply<'_>, now: Instant, out: &mut Vec<u8>) -> Option<Event> {
        let (stage, code, elapsed) = (self.stage(), reply.code, now.saturating_duration_since(self.since));
        let event = Event::Reply { stage, code, elapsed };
        match self.state {
            State::Quit { others: 0 } => self.close(Cause::Quit),
            State::Quit { others } => {
                self.state = State::Quit { others: others - 1 };
                return None;
            }
            State::Idle => {
                // RFC 5321 §3.8: 421 may come although nothing was asked
                match code.is_shutdown() {
                    true => self.refused(stage, reply),
                    false => self.break_off(&format!("unsolicited reply {}", reply.into_reply().one_line())),
                }
                return None;
            }
            _ if code.is_shutdown() => self.refused(stage, reply),
            State::Greeting => self.take_greeting(reply, now, out),
            State::Hello { extended } => self.take_hello(extended, reply, now, out),
            State::StartTls => self.take_start_tls(reply, now, out),
            State::Auth { next } if code.severity() == Severity::Intermediate => {
                self.answer(next, code, out);
                return None;
            }
            State::Auth { .. } => self.take_auth(reply, now, out),
            State::Envelope => self.take_envelope(reply, now, out),
            State::Body { .. } => self.take_early(reply),
            State::Dot => self.take_final(reply, now),
            State::LoneDot => {
                self.needs_reset = false; // RFC 5321 §4.1.1.4: the end of data clears everything
                self.finish(None);
            }
            State::Handshake { .. } | State::Closed => unreachable!("no reply is read in these states"),
        }
        Some(event)
    }
}

pub(super) const QUIT: &[u8] = b"QUIT\r\n";
